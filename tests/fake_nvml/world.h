/* What a scenario file says, and the state that outlives one reading of it. */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nvml_abi.h"

enum { GPUS = 32, IDENTITIES = 64, MIGS = 16, PROCESSES = 64, SAMPLES = 256, GPM = 32, FIELDS = 16, RULES = 64, EVENTS = 16 };
enum kind { POWER, UTILIZATION, MEMORY, KINDS }; /* NVML's own numbers */
enum list { COMPUTE, GRAPHICS, MPS };
enum { WHOLE = -1, ANY_PART = -2 }; /* beside the numbers of MIG devices: which part of a GPU a rule means */

struct process {
  enum list list;
  unsigned pid, gi, ci;
  uint64_t memory;
};

struct usage {
  unsigned pid, sm, memory;
  uint64_t timestamp; /* 0: now, at each call */
};

struct sample {
  enum kind kind;
  uint64_t timestamp, value;
};

struct ring { /* a live ring: one value per period, kept across scenarios */
  uint64_t period_us, capacity, type;
  int64_t offset_us;
};

struct mig {
  bool present;
  char uuid[96];
  unsigned gi, ci, sm, gi_slices, ci_slices;
  uint64_t memory_total, memory_used;
};

struct gpm {
  unsigned metric, gi;
  double value;
};

struct field {
  unsigned id;
  uint64_t value;
};

struct event {
  uint64_t type, data;
  bool delivered;
};

struct gpu {
  bool present, gone, lost, mig_mode;
  char uuid[96], name[96], pci[32], serial[30];
  uint64_t minor, memory_total, memory_used, memory_reserved;
  uint64_t power_mw, power_limit_mw, enforced_limit_mw;
  uint64_t energy_mj, energy_rate_mw;
  int64_t energy_since_us; /* 0: the scenario file's modification time */
  uint64_t utilization, memory_utilization;
  struct ring rings[KINDS];
  int samples, processes, usages, gpms, fields, events;
  struct sample sample[SAMPLES];
  struct process process[PROCESSES];
  struct usage usage[PROCESSES];
  struct gpm gpm[GPM];
  struct field field[FIELDS];
  struct event event[EVENTS];
  struct mig mig[MIGS];
};

struct rule {
  enum { RETURN, SLOW, HANG } what;
  char function[64]; /* "*": every function but nvmlShutdown */
  int gpu;           /* the scenario's number, -1: any, and calls about none */
  int part;          /* a MIG device's number, WHOLE or ANY_PART */
  int value;         /* a code, or milliseconds */
  int64_t after, times, seen;
};

struct world {
  int64_t modified_us;
  char driver[80], nvml[80];
  int rules;
  struct rule rule[RULES];
  struct gpu gpu[GPUS];
};

/* Reads the file, NULL (and a line on stderr) when it is malformed. */
struct world *world_parse(const char *path, int64_t modified_us);

struct gpu *world_gpu(struct world *world, unsigned visible_index); /* NULL: no such index */
unsigned world_count(const struct world *world);
uint64_t gpu_energy(const struct world *world, const struct gpu *gpu, int64_t now_us);

int64_t now_us(void);

#endif
