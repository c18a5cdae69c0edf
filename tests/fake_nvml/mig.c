/* GPUs cut into instances. */
#include "calls.h"

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
  WHOLE_GPU_CALL(device);
  *current = *pending = call.gpu->mig_mode;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
  WHOLE_GPU_CALL(device);
  *count = call.gpu->mig_mode ? 7 : 0;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *instance) {
  WHOLE_GPU_CALL(device);
  if (index >= MIGS) return INVALID_ARGUMENT;
  if (!call.gpu->mig_mode || !call.gpu->mig[index].present) return NOT_FOUND;
  *instance = handle_of(call.gpu->uuid, (int)index);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *is_mig) {
  DEVICE_CALL(device);
  *is_mig = call.mig != NULL;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t instance, nvmlDevice_t *device) {
  DEVICE_CALL(instance);
  if (!call.mig) return INVALID_ARGUMENT;
  *device = handle_of(call.gpu->uuid, -1);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *id) {
  DEVICE_CALL(device);
  if (!call.mig) return NOT_SUPPORTED;
  *id = call.mig->gi;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned *id) {
  DEVICE_CALL(device);
  if (!call.mig) return NOT_SUPPORTED;
  *id = call.mig->ci;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes) {
  DEVICE_CALL(device);
  if (!call.mig) return NOT_SUPPORTED;
  *attributes = (nvmlDeviceAttributes_t){
      .multiprocessorCount = call.mig->sm,
      .gpuInstanceSliceCount = call.mig->gi_slices,
      .computeInstanceSliceCount = call.mig->ci_slices,
      .memorySizeMB = call.mig->memory_total >> 20,
  };
  return SUCCESS;
}
