/* What a scenario means at a moment: which GPU has which index, how far a counter and a ring have advanced. */
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "calls.h"

int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct gpu *world_gpu(struct world *world, unsigned visible_index) {
  for (int i = 0; i < GPUS; i++)
    if (world->gpu[i].present && !world->gpu[i].gone && visible_index-- == 0) return &world->gpu[i];
  return NULL;
}

unsigned world_count(const struct world *world) {
  unsigned count = 0;
  for (int i = 0; i < GPUS; i++) count += world->gpu[i].present && !world->gpu[i].gone;
  return count;
}

uint64_t gpu_energy(const struct world *world, const struct gpu *gpu, int64_t now) {
  if (gpu->energy_rate_mw == 0) return gpu->energy_mj;
  int64_t since = gpu->energy_since_us ? gpu->energy_since_us : world->modified_us;
  int64_t elapsed = now > since ? now - since : 0;
  return gpu->energy_mj + (uint64_t)((double)gpu->energy_rate_mw * (double)elapsed / 1e6);
}

/* Live rings, by identity: they outlive a scenario, so that a change of utilization leaves its history. */
struct history {
  uint64_t next; /* the number of the next period */
  uint64_t value[SAMPLES];
};

static struct history histories[IDENTITIES][KINDS];

void rings_forget(void) { memset(histories, 0, sizeof histories); }

static uint64_t live_value(const struct gpu *gpu, enum kind kind) {
  return kind == POWER ? gpu->power_mw : kind == UTILIZATION ? gpu->utilization : gpu->memory_utilization;
}

void rings_advance(const struct world *world, int64_t until_us) {
  for (int i = 0; i < GPUS; i++) {
    const struct gpu *gpu = &world->gpu[i];
    if (!gpu->present) continue;
    for (int kind = 0; kind < KINDS; kind++) {
      struct history *history = &histories[identity(gpu->uuid)][kind];
      uint64_t end = (uint64_t)until_us / gpu->rings[kind].period_us + 1;
      if (history->next + SAMPLES < end) history->next = end - SAMPLES; /* also the first time: as if it always ran */
      for (; history->next < end; history->next++) history->value[history->next % SAMPLES] = live_value(gpu, kind);
    }
  }
}

static bool is_explicit(const struct gpu *gpu, enum kind kind) { /* explicit samples replace the live ring */
  for (int i = 0; i < gpu->samples; i++)
    if (gpu->sample[i].kind == kind) return true;
  return false;
}

unsigned ring_copy(const struct gpu *gpu, enum kind kind, uint64_t after, nvmlSample_t *into) {
  const struct ring *ring = &gpu->rings[kind];
  const struct history *history = &histories[identity(gpu->uuid)][kind];
  unsigned count = 0;
  for (int i = 0; i < gpu->samples; i++)
    if (gpu->sample[i].kind == kind && gpu->sample[i].timestamp > after)
      into[count++] = (nvmlSample_t){gpu->sample[i].timestamp, {.ullVal = gpu->sample[i].value}};
  for (uint64_t n = history->next - ring->capacity; !is_explicit(gpu, kind) && n < history->next; n++) {
    uint64_t timestamp = n * ring->period_us + (uint64_t)ring->offset_us;
    if (timestamp > after) into[count++] = (nvmlSample_t){timestamp, {.ullVal = history->value[n % SAMPLES]}};
  }
  for (unsigned i = 0; ring->type == 0 && i < count; i++)
    into[i].sampleValue.dVal = (double)into[i].sampleValue.ullVal;
  return count;
}
