#include "calls.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct world *world;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char scenario[4096];
static struct stat seen;
static int trace = -1;
static unsigned initialized; /* nvmlInit counts its callers */
static unsigned generation;  /* how often it was opened from closed */
static struct handle handles[2][IDENTITIES][MIGS + 1]; /* of this opening and the one before, in turns */
static int identities;

int identity(const char *uuid) {
  for (int i = 0; i < identities; i++)
    if (strcmp(handles[0][i][0].uuid, uuid) == 0) return i;
  if (identities == IDENTITIES) {
    fprintf(stderr, "fake_nvml: more than %d UUIDs in one process\n", IDENTITIES);
    abort();
  }
  for (int side = 0; side < 2; side++)
    for (int mig = -1; mig < MIGS; mig++) {
      struct handle *handle = &handles[side][identities][mig + 1];
      snprintf(handle->uuid, sizeof handle->uuid, "%s", uuid);
      handle->mig = mig;
    }
  return identities++;
}

nvmlDevice_t handle_of(const char *uuid, int mig) {
  struct handle *handle = &handles[generation % 2][identity(uuid)][mig + 1];
  handle->generation = generation;
  return handle;
}

static void sleep_ms(long milliseconds) {
  struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  nanosleep(&pause, NULL);
}

/* A process may follow several scenarios one after another (a test suite does): a new path starts afresh. */
static void follow_environment(void) {
  const char *path = getenv("FAKE_NVML_SCENARIO");
  if (!path) path = "";
  if (strcmp(path, scenario) == 0) return;
  snprintf(scenario, sizeof scenario, "%s", path);
  memset(&seen, 0, sizeof seen);
  free(world);
  world = NULL;
  identities = 0;
  rings_forget();
  if (trace >= 0) close(trace);
  const char *into = getenv("FAKE_NVML_TRACE");
  trace = into && *into ? open(into, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
}

static void reload(void) {
  struct stat now;
  if (stat(scenario, &now) != 0) {
    if (!world) fprintf(stderr, "fake_nvml: FAKE_NVML_SCENARIO names no file: '%s'\n", scenario);
    return;
  }
  if (world && now.st_ino == seen.st_ino && now.st_size == seen.st_size &&
      now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
    return;
  seen = now;
  int64_t modified_us = (int64_t)now.st_mtim.tv_sec * 1000000 + now.st_mtim.tv_nsec / 1000;
  struct world *next = world_parse(scenario, modified_us);
  if (!next) return; /* a malformed scenario changes nothing */
  if (world) rings_advance(world, modified_us);
  free(world);
  world = next;
}

static struct gpu *find(enum addressed how, const void *what, struct mig **mig) {
  if (how == BY_INDEX) return world_gpu(world, *(const unsigned *)what);
  for (int i = 0; i < GPUS; i++) {
    struct gpu *gpu = &world->gpu[i];
    if (!gpu->present || gpu->gone) continue;
    if (how == BY_PCI && strcasecmp(gpu->pci, what) == 0) return gpu;
    if (how == BY_UUID && strcmp(gpu->uuid, what) == 0) return gpu;
    for (int m = 0; how == BY_UUID && m < MIGS; m++)
      if (gpu->mig[m].present && strcmp(gpu->mig[m].uuid, what) == 0) {
        *mig = &gpu->mig[m];
        return gpu;
      }
    const struct handle *handle = what;
    if (how == BY_HANDLE && strcmp(gpu->uuid, handle->uuid) == 0) {
      if (handle->mig >= 0) *mig = &gpu->mig[handle->mig];
      return handle->mig >= 0 && !gpu->mig[handle->mig].present ? NULL : gpu;
    }
  }
  return NULL;
}

static int part_of(const struct gpu *gpu, const struct mig *mig) { return mig ? (int)(mig - gpu->mig) : WHOLE; }

static struct rule *match(int what, const char *function, const struct gpu *gpu, const struct mig *mig) {
  for (int i = 0; i < world->rules; i++) {
    struct rule *rule = &world->rule[i];
    bool any = strcmp(rule->function, "*") == 0;
    if ((int)rule->what != what || (any ? strcmp(function, "nvmlShutdown") == 0 : strcmp(rule->function, function) != 0))
      continue;
    if (rule->gpu >= 0 && gpu != &world->gpu[rule->gpu]) continue;
    if (rule->part != ANY_PART && rule->part != part_of(gpu, mig)) continue;
    int64_t seen_before = rule->seen++;
    if (seen_before < rule->after) continue;
    if (rule->times >= 0 && seen_before >= rule->after + rule->times) continue;
    return rule;
  }
  return NULL;
}

static void note(const char *function, const struct gpu *gpu, const struct mig *mig) {
  char line[128], which[32] = "";
  if (trace < 0) return;
  if (gpu) snprintf(which, sizeof which, " %d", (int)(gpu - world->gpu));
  if (mig) snprintf(which, sizeof which, " %d/%d", (int)(gpu - world->gpu), part_of(gpu, mig));
  int length = snprintf(line, sizeof line, "%s%s\n", function, which);
  if (write(trace, line, (size_t)length) != length) fprintf(stderr, "fake_nvml: cannot write the trace\n");
}

static bool is_init(const char *function) { return strncmp(function, "nvmlInit", 8) == 0; }

/* Waits with the lock let go; the world may be another one afterwards. */
static void let_time_pass(const char *function, enum addressed how, const void *what) {
  struct mig *mig = NULL;
  const struct gpu *gpu = how ? find(how, what, &mig) : NULL;
  struct rule *slow = match(SLOW, function, gpu, mig);
  if (slow) {
    long milliseconds = slow->value;
    pthread_mutex_unlock(&lock);
    sleep_ms(milliseconds);
    pthread_mutex_lock(&lock);
  }
  for (;;) {
    mig = NULL;
    gpu = how ? find(how, what, &mig) : NULL;
    if (!match(HANG, function, gpu, mig)) return;
    pthread_mutex_unlock(&lock);
    sleep_ms(2);
    pthread_mutex_lock(&lock);
    reload();
  }
}

struct call call_begin(const char *function, enum addressed how, const void *what) {
  struct call call = {.code = SUCCESS};
  pthread_mutex_lock(&lock);
  if (is_init(function) && initialized == 0) follow_environment();
  reload();
  if (!world) {
    call.code = UNKNOWN;
    return call;
  }
  if (how != NOTHING && !what) {
    call.code = INVALID_ARGUMENT;
    return call;
  }
  call.gpu = how ? find(how, what, &call.mig) : NULL;
  note(function, call.gpu, call.mig);
  let_time_pass(function, how, what);
  call.mig = NULL;
  call.gpu = how ? find(how, what, &call.mig) : NULL;
  const struct rule *rule = match(RETURN, function, call.gpu, call.mig);
  if (rule) call.code = rule->value;
  else if (!initialized && !is_init(function)) call.code = UNINITIALIZED;
  else if (how == BY_HANDLE && ((const struct handle *)what)->generation != generation) call.code = INVALID_ARGUMENT;
  else if (how == BY_HANDLE && (!call.gpu || call.gpu->lost)) call.code = GPU_IS_LOST;
  else if (how == BY_INDEX && !call.gpu) call.code = INVALID_ARGUMENT;
  else if (how == BY_INDEX && call.gpu->lost) call.code = UNKNOWN;
  else if (how != NOTHING && !call.gpu) call.code = NOT_FOUND;
  else if (how != NOTHING && call.gpu->lost) call.code = GPU_IS_LOST;
  if (call.code == SUCCESS && is_init(function) && initialized++ == 0) generation++;
  return call;
}

void call_end(struct call *call) {
  (void)call;
  pthread_mutex_unlock(&lock);
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  CALL(NOTHING, NULL);
  return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) {
  CALL(NOTHING, NULL);
  return SUCCESS;
}

nvmlReturn_t nvmlShutdown(void) {
  CALL(NOTHING, NULL);
  initialized--;
  return SUCCESS;
}
