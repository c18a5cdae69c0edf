/* What a GPU measures: memory, power, energy, utilization. */
#include <string.h>

#include "calls.h"

static uint64_t memory_total(const struct call *call) {
  return call->mig ? call->mig->memory_total : call->gpu->memory_total;
}

static uint64_t memory_used(const struct call *call) {
  return call->mig ? call->mig->memory_used : call->gpu->memory_used;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
  DEVICE_CALL(device);
  memory->total = memory_total(&call);
  memory->used = memory_used(&call) + (call.mig ? 0 : call.gpu->memory_reserved); /* the first version adds them up */
  memory->free = memory->total - memory->used;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
  DEVICE_CALL(device);
  if (memory->version != VERSIONED(nvmlMemory_v2_t, 2)) return ARGUMENT_VERSION_MISMATCH;
  memory->total = memory_total(&call);
  memory->used = memory_used(&call);
  memory->reserved = call.mig ? 0 : call.gpu->memory_reserved;
  memory->free = memory->total - memory->used - memory->reserved;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
  WHOLE_GPU_CALL(device);
  *milliwatts = (unsigned)call.gpu->power_mw;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned *milliwatts) {
  WHOLE_GPU_CALL(device);
  *milliwatts = (unsigned)call.gpu->power_limit_mw;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *milliwatts) {
  WHOLE_GPU_CALL(device);
  *milliwatts = (unsigned)(call.gpu->enforced_limit_mw ? call.gpu->enforced_limit_mw : call.gpu->power_limit_mw);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, uint64_t *millijoules) {
  WHOLE_GPU_CALL(device);
  *millijoules = gpu_energy(world, call.gpu, now_us());
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
  WHOLE_GPU_CALL(device);
  if (call.gpu->mig_mode) return NOT_SUPPORTED;
  rates->gpu = (unsigned)call.gpu->utilization;
  rates->memory = (unsigned)call.gpu->memory_utilization;
  return SUCCESS;
}

/* Without a buffer it tells the ring's capacity, and succeeds even when the ring is empty. */
nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, int kind, unsigned long long after, int *type, unsigned *count,
                                  nvmlSample_t *samples) {
  nvmlSample_t all[SAMPLES];
  WHOLE_GPU_CALL(device);
  if (kind < 0 || kind >= KINDS || (call.gpu->mig_mode && kind != POWER)) return NOT_SUPPORTED;
  *type = (int)call.gpu->rings[kind].type;
  if (!samples) {
    *count = SAMPLES;
    return SUCCESS;
  }
  rings_advance(world, now_us());
  unsigned found = ring_copy(call.gpu, (enum kind)kind, after, all);
  if (found == 0) return NOT_FOUND;
  if (found > *count) return INSUFFICIENT_SIZE;
  memcpy(samples, all, found * sizeof *all);
  *count = found;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
  WHOLE_GPU_CALL(device);
  for (int i = 0; i < count; i++) {
    nvmlFieldValue_t *value = &values[i];
    value->timestamp = now_us();
    value->latencyUsec = 1;
    value->valueType = 3;
    value->nvmlReturn = SUCCESS;
    if (value->fieldId == 83) value->value.ullVal = gpu_energy(world, call.gpu, now_us());
    else if (value->fieldId == 185 || value->fieldId == 186) value->value.ullVal = call.gpu->power_mw;
    else value->nvmlReturn = NOT_SUPPORTED;
    for (int f = 0; f < call.gpu->fields; f++)
      if (call.gpu->field[f].id == value->fieldId) {
        value->value.ullVal = call.gpu->field[f].value;
        value->nvmlReturn = SUCCESS;
      }
  }
  return SUCCESS;
}

/* Getters that no test steers, so that other readers of NVML find their usual calls too. */
#define CONSTANT(name, constant)                              \
  nvmlReturn_t name(nvmlDevice_t device, unsigned *value) {    \
    WHOLE_GPU_CALL(device);                                   \
    *value = (constant);                                      \
    return SUCCESS;                                           \
  }
#define CONSTANT_OF(name, constant)                                       \
  nvmlReturn_t name(nvmlDevice_t device, int which, unsigned *value) {     \
    (void)which;                                                          \
    WHOLE_GPU_CALL(device);                                               \
    *value = (constant);                                                  \
    return SUCCESS;                                                       \
  }
CONSTANT(nvmlDeviceGetFanSpeed, 40)
CONSTANT(nvmlDeviceGetPerformanceState, 0)
CONSTANT(nvmlDeviceGetPersistenceMode, 1)
CONSTANT(nvmlDeviceGetComputeMode, 0)
CONSTANT(nvmlDeviceGetDisplayMode, 0)
CONSTANT(nvmlDeviceGetDisplayActive, 0)
CONSTANT(nvmlDeviceGetPowerManagementDefaultLimit, 700000)
CONSTANT_OF(nvmlDeviceGetTemperature, 55)
CONSTANT_OF(nvmlDeviceGetClockInfo, 1980)
CONSTANT_OF(nvmlDeviceGetMaxClockInfo, 1980)
CONSTANT_OF(nvmlDeviceGetPcieThroughput, 0)

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
  DEVICE_CALL(device);
  *major = 9;
  *minor = 0;
  return SUCCESS;
}
