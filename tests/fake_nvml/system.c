/* The library itself: versions, error texts, how a device is found. */
#include <stdio.h>
#include <string.h>

#include "calls.h"

static nvmlReturn_t text(char *into, unsigned length, const char *from) {
  if (!into) return INVALID_ARGUMENT;
  if (strlen(from) >= length) return INSUFFICIENT_SIZE;
  strcpy(into, from);
  return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t code) {
  switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case NOT_SUPPORTED: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
  }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *into, unsigned length) {
  CALL(NOTHING, NULL);
  return text(into, length, world->driver);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *into, unsigned length) {
  CALL(NOTHING, NULL);
  return text(into, length, world->nvml);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
  CALL(NOTHING, NULL);
  *version = 12080;
  return SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
  CALL(NOTHING, NULL);
  *version = 12080;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
  CALL(NOTHING, NULL);
  *count = world_count(world);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
  CALL(BY_INDEX, &index);
  *device = handle_of(call.gpu->uuid, -1);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
  CALL(BY_UUID, uuid);
  *device = handle_of(call.gpu->uuid, call.mig ? (int)(call.mig - call.gpu->mig) : -1);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *pci, nvmlDevice_t *device) {
  CALL(BY_PCI, pci);
  *device = handle_of(call.gpu->uuid, -1);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *into, unsigned length) {
  DEVICE_CALL(device);
  return text(into, length, call.mig ? call.mig->uuid : call.gpu->uuid);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *into, unsigned length) {
  char name[192];
  DEVICE_CALL(device);
  if (!call.mig) return text(into, length, call.gpu->name);
  char compute[16] = ""; /* a compute instance that is only a part of its GPU instance */
  if (call.mig->ci_slices != call.mig->gi_slices) snprintf(compute, sizeof compute, "%uc.", call.mig->ci_slices);
  snprintf(name, sizeof name, "%s MIG %s%ug.%ugb", call.gpu->name, compute, call.mig->gi_slices,
           (unsigned)(call.mig->memory_total >> 30));
  return text(into, length, name);
}

nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char *into, unsigned length) {
  WHOLE_GPU_CALL(device);
  return *call.gpu->serial ? text(into, length, call.gpu->serial) : NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index) {
  DEVICE_CALL(device);
  if (call.mig) {
    *index = (unsigned)(call.mig - call.gpu->mig);
    return SUCCESS;
  }
  for (*index = 0; world_gpu(world, *index) != call.gpu;) ++*index;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor) {
  WHOLE_GPU_CALL(device);
  *minor = (unsigned)call.gpu->minor;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *info) {
  DEVICE_CALL(device);
  memset(info, 0, sizeof *info);
  snprintf(info->busId, sizeof info->busId, "%s", call.gpu->pci);
  size_t cut = strlen(call.gpu->pci) > 12 ? 4 : 0; /* the older form has a domain of four digits */
  snprintf(info->busIdLegacy, sizeof info->busIdLegacy, "%.15s", call.gpu->pci + cut);
  sscanf(call.gpu->pci, "%x:%x:%x", &info->domain, &info->bus, &info->device);
  info->pciDeviceId = 0x233010DE; /* an H100 SXM */
  return SUCCESS;
}
