/* The scenario file's grammar; README.md tells it for people. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct words {
  char *word[64];
  int count, next;
};

static bool number(const char *text, uint64_t *value) {
  if (strcmp(text, "na") == 0) { /* NVML's own "not available": all ones */
    *value = UINT64_MAX;
    return true;
  }
  char *end;
  *value = strtoull(text, &end, 0);
  return end != text && *end == 0;
}

static bool next_number(struct words *words, uint64_t *value) {
  return words->next < words->count && number(words->word[words->next++], value);
}

static bool next_unsigned(struct words *words, unsigned *value) {
  uint64_t wide;
  if (!next_number(words, &wide)) return false;
  *value = (unsigned)wide;
  return true;
}

/* The rest of the line as one text; \xNN makes bytes that are not UTF-8. */
static bool rest(struct words *words, char *into, size_t size) {
  size_t used = 0;
  if (words->next >= words->count) return false;
  for (int first = words->next; words->next < words->count; words->next++) {
    if (words->next > first && used + 1 < size) into[used++] = ' ';
    for (const char *c = words->word[words->next]; *c && used + 1 < size; c++) {
      unsigned byte;
      if (c[0] == '\\' && c[1] == 'x' && sscanf(c + 2, "%2x", &byte) == 1) {
        into[used++] = (char)byte;
        c += 3;
      } else {
        into[used++] = *c;
      }
    }
  }
  into[used] = 0;
  return true;
}

static bool kind(const char *word, enum kind *kind) {
  static const char *names[KINDS] = {"power", "utilization", "memory"};
  for (int i = 0; i < KINDS; i++)
    if (strcmp(word, names[i]) == 0) {
      *kind = (enum kind)i;
      return true;
    }
  return false;
}

/* `*`, `N`, `N/I` (MIG device I of it) or `N/whole`. */
static bool parse_target(struct rule *rule, char *word) {
  uint64_t value;
  rule->gpu = -1;
  rule->part = ANY_PART;
  if (strcmp(word, "*") == 0) return true;
  char *part = strchr(word, '/');
  if (part) *part++ = 0;
  if (!number(word, &value) || value >= GPUS) return false;
  rule->gpu = (int)value;
  if (!part) return true;
  if (strcmp(part, "whole") == 0) rule->part = WHOLE;
  else if (number(part, &value) && value < MIGS) rule->part = (int)value;
  else return false;
  return true;
}

static bool parse_rule(struct world *world, struct words *words, int what) {
  if (world->rules == RULES || words->count < (what == HANG ? 3 : 4)) return false;
  struct rule *rule = &world->rule[world->rules++];
  *rule = (struct rule){.what = what, .times = -1};
  snprintf(rule->function, sizeof rule->function, "%s", words->word[1]);
  words->next = 3;
  uint64_t value;
  if (!parse_target(rule, words->word[2])) return false;
  if (what == HANG) return words->next == words->count;
  if (!next_number(words, &value)) return false;
  rule->value = (int)value;
  if (words->next < words->count) {
    if (!next_number(words, &value)) return false;
    rule->after = (int64_t)value;
  }
  if (words->next < words->count) {
    if (!next_number(words, &value)) return false;
    rule->times = (int64_t)value;
  }
  return words->next == words->count;
}

static bool parse_energy(struct gpu *gpu, struct words *words) {
  if (!next_number(words, &gpu->energy_mj)) return false;
  while (words->next + 1 < words->count) {
    const char *key = words->word[words->next++];
    uint64_t value;
    if (!next_number(words, &value)) return false;
    if (strcmp(key, "rate_mw") == 0) gpu->energy_rate_mw = value;
    else if (strcmp(key, "since_us") == 0) gpu->energy_since_us = (int64_t)value;
    else return false;
  }
  return true;
}

static bool parse_ring(struct gpu *gpu, struct words *words) {
  enum kind which;
  if (words->next >= words->count || !kind(words->word[words->next++], &which)) return false;
  struct ring *ring = &gpu->rings[which];
  while (words->next + 1 < words->count) {
    const char *key = words->word[words->next++];
    uint64_t value;
    if (strcmp(key, "offset_us") == 0) {
      ring->offset_us = strtoll(words->word[words->next++], NULL, 0);
      continue;
    }
    if (!next_number(words, &value)) return false;
    if (strcmp(key, "period_us") == 0 && value > 0) ring->period_us = value;
    else if (strcmp(key, "capacity") == 0 && value <= SAMPLES) ring->capacity = value;
    else if (strcmp(key, "type") == 0) ring->type = value;
    else return false;
  }
  return true;
}

static bool parse_mig(struct gpu *gpu, struct words *words) {
  uint64_t index;
  if (!next_number(words, &index) || index >= MIGS) return false;
  struct mig *mig = &gpu->mig[index];
  mig->present = true;
  while (words->next + 1 < words->count) {
    const char *key = words->word[words->next++];
    uint64_t value;
    if (strcmp(key, "uuid") == 0) {
      snprintf(mig->uuid, sizeof mig->uuid, "%s", words->word[words->next++]);
      continue;
    }
    if (!next_number(words, &value)) return false;
    if (strcmp(key, "gi") == 0) mig->gi = (unsigned)value;
    else if (strcmp(key, "ci") == 0) mig->ci = (unsigned)value;
    else if (strcmp(key, "sm") == 0) mig->sm = (unsigned)value;
    else if (strcmp(key, "gi_slices") == 0) mig->gi_slices = (unsigned)value;
    else if (strcmp(key, "ci_slices") == 0) mig->ci_slices = (unsigned)value;
    else if (strcmp(key, "memory_total") == 0) mig->memory_total = value;
    else if (strcmp(key, "memory_used") == 0) mig->memory_used = value;
    else return false;
  }
  return true;
}

static bool parse_process(struct gpu *gpu, struct words *words) {
  if (words->next >= words->count || gpu->processes == PROCESSES) return false;
  struct process *process = &gpu->process[gpu->processes++];
  const char *list = words->word[words->next++];
  if (strcmp(list, "compute") == 0) process->list = COMPUTE;
  else if (strcmp(list, "graphics") == 0) process->list = GRAPHICS;
  else if (strcmp(list, "mps") == 0) process->list = MPS;
  else return false;
  process->gi = process->ci = NONE_U32;
  if (!next_unsigned(words, &process->pid) || !next_number(words, &process->memory)) return false;
  if (words->next == words->count) return true;
  return next_unsigned(words, &process->gi) && next_unsigned(words, &process->ci);
}

static bool parse_list(struct gpu *gpu, struct words *words, const char *key) {
  if (strcmp(key, "sample") == 0) {
    struct sample *sample = &gpu->sample[gpu->samples];
    return gpu->samples < SAMPLES && words->next < words->count &&
           kind(words->word[words->next++], &sample->kind) && next_number(words, &sample->timestamp) &&
           next_number(words, &sample->value) && ++gpu->samples;
  }
  if (strcmp(key, "process_utilization") == 0) {
    struct usage *usage = &gpu->usage[gpu->usages];
    if (gpu->usages == PROCESSES || !next_unsigned(words, &usage->pid) || !next_unsigned(words, &usage->sm) ||
        !next_unsigned(words, &usage->memory))
      return false;
    if (words->next < words->count && !next_number(words, &usage->timestamp)) return false;
    return ++gpu->usages;
  }
  if (strcmp(key, "gpm") == 0) {
    struct gpm *gpm = &gpu->gpm[gpu->gpms];
    if (gpu->gpms == GPM || !next_unsigned(words, &gpm->metric) || words->next >= words->count) return false;
    gpm->value = strtod(words->word[words->next++], NULL);
    gpm->gi = NONE_U32;
    if (words->next < words->count && !next_unsigned(words, &gpm->gi)) return false;
    return ++gpu->gpms;
  }
  if (strcmp(key, "field") == 0) {
    struct field *field = &gpu->field[gpu->fields];
    return gpu->fields < FIELDS && next_unsigned(words, &field->id) && next_number(words, &field->value) &&
           ++gpu->fields;
  }
  if (strcmp(key, "event") == 0) {
    struct event *event = &gpu->event[gpu->events];
    return gpu->events < EVENTS && next_number(words, &event->type) && next_number(words, &event->data) &&
           ++gpu->events;
  }
  return false;
}

static bool parse_gpu(struct world *world, struct words *words) {
  static const struct {
    const char *key;
    size_t offset;
  } numbers[] = {
      {"minor", offsetof(struct gpu, minor)},
      {"memory_total", offsetof(struct gpu, memory_total)},
      {"memory_used", offsetof(struct gpu, memory_used)},
      {"memory_reserved", offsetof(struct gpu, memory_reserved)},
      {"power_mw", offsetof(struct gpu, power_mw)},
      {"power_limit_mw", offsetof(struct gpu, power_limit_mw)},
      {"enforced_limit_mw", offsetof(struct gpu, enforced_limit_mw)},
      {"utilization", offsetof(struct gpu, utilization)},
      {"memory_utilization", offsetof(struct gpu, memory_utilization)},
  };
  static const struct {
    const char *key;
    size_t offset;
  } flags[] = {
      {"gone", offsetof(struct gpu, gone)},
      {"lost", offsetof(struct gpu, lost)},
      {"mig_mode", offsetof(struct gpu, mig_mode)},
  };
  uint64_t index, value;
  words->next = 1;
  if (!next_number(words, &index) || index >= GPUS || words->next >= words->count) return false;
  struct gpu *gpu = &world->gpu[index];
  if (!gpu->present) {
    gpu->present = true;
    gpu->minor = index;
    for (int i = 0; i < KINDS; i++) gpu->rings[i] = (struct ring){.period_us = 166667, .capacity = 100, .type = 1};
    gpu->rings[POWER] = (struct ring){.period_us = 100000, .capacity = 120, .type = 1};
    snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-00000000-0000-0000-0000-%012u", (unsigned)index);
    snprintf(gpu->name, sizeof gpu->name, "NVIDIA Fake");
    snprintf(gpu->pci, sizeof gpu->pci, "00000000:%02X:00.0", (unsigned)index + 1);
  }
  const char *key = words->word[words->next++];
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (strcmp(key, numbers[i].key) == 0) return next_number(words, (uint64_t *)((char *)gpu + numbers[i].offset));
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    if (strcmp(key, flags[i].key) == 0) {
      if (!next_number(words, &value)) return false;
      *(bool *)((char *)gpu + flags[i].offset) = value != 0;
      return true;
    }
  if (strcmp(key, "uuid") == 0) return rest(words, gpu->uuid, sizeof gpu->uuid);
  if (strcmp(key, "name") == 0) return rest(words, gpu->name, sizeof gpu->name);
  if (strcmp(key, "pci") == 0) return rest(words, gpu->pci, sizeof gpu->pci);
  if (strcmp(key, "serial") == 0) return rest(words, gpu->serial, sizeof gpu->serial);
  if (strcmp(key, "energy_mj") == 0) return parse_energy(gpu, words);
  if (strcmp(key, "ring") == 0) return parse_ring(gpu, words);
  if (strcmp(key, "mig") == 0) return parse_mig(gpu, words);
  if (strcmp(key, "process") == 0) return parse_process(gpu, words);
  return parse_list(gpu, words, key);
}

static bool parse_line(struct world *world, char *line) {
  struct words words = {.next = 1};
  for (char *save, *word = strtok_r(line, " \t\r\n", &save); word; word = strtok_r(NULL, " \t\r\n", &save)) {
    if (word[0] == '#') break;
    if (words.count == 64) return false;
    words.word[words.count++] = word;
  }
  if (words.count == 0) return true;
  const char *verb = words.word[0];
  if (strcmp(verb, "driver") == 0) return rest(&words, world->driver, sizeof world->driver);
  if (strcmp(verb, "nvml") == 0) return rest(&words, world->nvml, sizeof world->nvml);
  if (strcmp(verb, "return") == 0) return parse_rule(world, &words, RETURN);
  if (strcmp(verb, "slow") == 0) return parse_rule(world, &words, SLOW);
  if (strcmp(verb, "hang") == 0) return parse_rule(world, &words, HANG);
  if (strcmp(verb, "gpu") == 0) return parse_gpu(world, &words) && words.next == words.count;
  return false;
}

struct world *world_parse(const char *path, int64_t modified_us) {
  FILE *file = fopen(path, "r");
  if (!file) {
    fprintf(stderr, "fake_nvml: cannot open %s\n", path);
    return NULL;
  }
  struct world *world = calloc(1, sizeof *world);
  world->modified_us = modified_us;
  snprintf(world->driver, sizeof world->driver, "570.148.08");
  snprintf(world->nvml, sizeof world->nvml, "12.570.148.08");
  char line[1024];
  for (int at = 1; fgets(line, sizeof line, file); at++) {
    char shown[1024];
    snprintf(shown, sizeof shown, "%s", line);
    shown[strcspn(shown, "\r\n")] = 0;
    if (!parse_line(world, line)) {
      fprintf(stderr, "fake_nvml: %s:%d: cannot read: %s\n", path, at, shown);
      free(world);
      fclose(file);
      return NULL;
    }
  }
  fclose(file);
  return world;
}
