/* Who uses a GPU. */
#include "calls.h"

static nvmlReturn_t list_processes(const struct call *call, enum list list, unsigned *count, nvmlProcessInfo_t *into) {
  unsigned found = 0, room = *count;
  for (int pass = 0; pass < 2; pass++) {
    found = 0;
    for (int i = 0; i < call->gpu->processes; i++) {
      const struct process *process = &call->gpu->process[i];
      if (process->list != list) continue;
      if (call->mig && (process->gi != call->mig->gi || process->ci != call->mig->ci)) continue;
      if (pass == 1)
        into[found] = (nvmlProcessInfo_t){process->pid, process->memory, process->gi, process->ci};
      found++;
    }
    *count = found;
    if (found == 0) return SUCCESS;
    if (found > room || !into) return INSUFFICIENT_SIZE;
  }
  return SUCCESS;
}

#define PROCESSES_CALL(name, list)                                                     \
  nvmlReturn_t name(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *processes) { \
    DEVICE_CALL(device);                                                               \
    return list_processes(&call, list, count, processes);                              \
  }
PROCESSES_CALL(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE)
PROCESSES_CALL(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE)
PROCESSES_CALL(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS)
PROCESSES_CALL(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS)
PROCESSES_CALL(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS)
PROCESSES_CALL(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS)

/* Without a buffer it tells how many records there are by INSUFFICIENT_SIZE; SUCCESS would confuse its callers. */
nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *into, unsigned *count,
                                             unsigned long long after) {
  WHOLE_GPU_CALL(device);
  if (call.gpu->mig_mode) return NOT_SUPPORTED;
  uint64_t now = (uint64_t)now_us();
  unsigned found = 0, room = *count;
  for (int i = 0; i < call.gpu->usages; i++) {
    const struct usage *usage = &call.gpu->usage[i];
    uint64_t timestamp = usage->timestamp ? usage->timestamp : now;
    if (timestamp <= after) continue;
    if (into && found < room)
      into[found] = (nvmlProcessUtilizationSample_t){usage->pid, timestamp, usage->sm, usage->memory, 0, 0};
    found++;
  }
  *count = found;
  if (found == 0) return NOT_FOUND;
  return into && found <= room ? SUCCESS : INSUFFICIENT_SIZE;
}
