/* Events: each `event` line of a scenario is told once to each set that listens to its GPU. */
#include <stdlib.h>
#include <time.h>

#include "calls.h"

struct event_set {
  bool listening[IDENTITIES];
  uint64_t mask;
};

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
  WHOLE_GPU_CALL(device);
  *types = 0xC10B;
  return SUCCESS;
}

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
  CALL(NOTHING, NULL);
  *set = calloc(1, sizeof **set);
  return SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
  CALL(NOTHING, NULL);
  free(set);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
  WHOLE_GPU_CALL(device);
  set->listening[identity(call.gpu->uuid)] = true;
  set->mask |= types;
  return SUCCESS;
}

static nvmlReturn_t look(nvmlEventSet_t set, nvmlEventData_t *data, const char *function) {
  struct call call __attribute__((cleanup(call_end))) = call_begin(function, NOTHING, NULL);
  if (call.code != SUCCESS) return call.code;
  for (int g = 0; g < GPUS; g++) {
    struct gpu *gpu = &world->gpu[g];
    for (int e = 0; gpu->present && set->listening[identity(gpu->uuid)] && e < gpu->events; e++) {
      struct event *event = &gpu->event[e];
      if (event->delivered || !(event->type & set->mask)) continue;
      event->delivered = true;
      *data = (nvmlEventData_t){handle_of(gpu->uuid, -1), event->type, event->data, NONE_U32, NONE_U32};
      return SUCCESS;
    }
  }
  return TIMED_OUT;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms) {
  int64_t until = now_us() + (int64_t)timeout_ms * 1000;
  for (;;) {
    nvmlReturn_t code = look(set, data, __func__);
    if (code != TIMED_OUT || now_us() >= until) return code;
    nanosleep(&(struct timespec){0, 5000000}, NULL);
  }
}
