/* GPU performance monitoring: two samples, and metrics of the time between them. */
#include <stdlib.h>
#include <string.h>

#include "calls.h"

struct gpm_sample {
  char uuid[96];
  unsigned gi;
  unsigned number; /* of its taking: the first of a pair is the older */
};

static unsigned taken;

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *support) {
  DEVICE_CALL(device);
  support->isSupportedDevice = call.gpu->gpms > 0;
  return SUCCESS;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample) {
  CALL(NOTHING, NULL);
  *sample = calloc(1, sizeof **sample);
  return SUCCESS;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample) {
  CALL(NOTHING, NULL);
  free(sample);
  return SUCCESS;
}

static nvmlReturn_t take(const struct gpu *gpu, unsigned gi, nvmlGpmSample_t sample) {
  if (!sample) return INVALID_ARGUMENT;
  if (gpu->gpms == 0) return NOT_SUPPORTED;
  memcpy(sample->uuid, gpu->uuid, sizeof sample->uuid);
  sample->gi = gi;
  sample->number = ++taken;
  return SUCCESS;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample) {
  DEVICE_CALL(device);
  return take(call.gpu, call.mig ? call.mig->gi : NONE_U32, sample);
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t device, unsigned gi, nvmlGpmSample_t sample) {
  WHOLE_GPU_CALL(device);
  for (int i = 0; i < MIGS; i++)
    if (call.gpu->mig[i].present && call.gpu->mig[i].gi == gi) return take(call.gpu, gi, sample);
  return NOT_FOUND;
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get) {
  CALL(NOTHING, NULL);
  if (get->version != 1) return ARGUMENT_VERSION_MISMATCH;
  nvmlGpmSample_t first = get->sample1, second = get->sample2;
  if (!first || !second || !*first->uuid || strcmp(first->uuid, second->uuid) != 0 || first->gi != second->gi ||
      first->number >= second->number)
    return INVALID_ARGUMENT;
  for (unsigned i = 0; i < get->numMetrics; i++) {
    nvmlGpmMetric_t *metric = &get->metrics[i];
    metric->nvmlReturn = NOT_SUPPORTED;
    for (int g = 0; g < GPUS; g++) {
      const struct gpu *gpu = &world->gpu[g];
      if (!gpu->present || strcmp(gpu->uuid, first->uuid) != 0) continue;
      for (int m = 0; m < gpu->gpms; m++)
        if (gpu->gpm[m].metric == metric->metricId && gpu->gpm[m].gi == first->gi) {
          metric->value = gpu->gpm[m].value;
          metric->nvmlReturn = SUCCESS;
        }
    }
  }
  return SUCCESS;
}
