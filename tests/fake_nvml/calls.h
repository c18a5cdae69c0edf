/* What every export does before its own work: lock, re-read the scenario, trace, apply rules, find the device. */
#ifndef CALLS_H
#define CALLS_H

#include "world.h"

enum addressed { NOTHING, BY_HANDLE, BY_INDEX, BY_UUID, BY_PCI };

struct handle { /* what an nvmlDevice_t points to; lives as long as the process */
  char uuid[96];
  int mig;             /* -1: the GPU itself */
  unsigned generation; /* of the opening that gave it out; void in any other */
};

struct call {
  nvmlReturn_t code; /* not SUCCESS: return it */
  struct gpu *gpu;
  struct mig *mig; /* NULL: the GPU itself */
};

extern struct world *world;

struct call call_begin(const char *function, enum addressed how, const void *what);
void call_end(struct call *call);

nvmlDevice_t handle_of(const char *uuid, int mig);
int identity(const char *uuid); /* a small number per UUID, for the life of the process */

void rings_forget(void);
void rings_advance(const struct world *world, int64_t until_us);
unsigned ring_copy(const struct gpu *gpu, enum kind kind, uint64_t after, nvmlSample_t *into); /* SAMPLES at most */

/* Declares `call`, holds the lock until the scope ends, returns early with the call's code. */
#define CALL(how, what)                                                                     \
  struct call call __attribute__((cleanup(call_end))) = call_begin(__func__, (how), (what)); \
  if (call.code != SUCCESS) return call.code

#define DEVICE_CALL(device) CALL(BY_HANDLE, device)
#define WHOLE_GPU_CALL(device) /* what NVML does not tell of a MIG instance */ \
  DEVICE_CALL(device);                                                         \
  if (call.mig) return NOT_SUPPORTED

#endif
