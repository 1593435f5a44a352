/* SPDX-License-Identifier: 0BSD */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char br_options_help[] =
    "  --prompt TEXT          continue this text; without it, talk (or continue what comes in, if it cannot chat)\n"
    "  --system TEXT          who the model is to be\n"
    "  --tokens N             write at most so many\n"
    "  --temperature X        0: always the likeliest token\n"
    "  --top-k N  --top-p X  --min-p X  --repeat-penalty X\n"
    "  --seed N               the same seed, the same text, on every machine\n"
    "  --stop TEXT            end before this text; may be repeated\n"
    "  --threads N  --context N  --isa NAME  --weights FILE\n"
    "  --json                 one JSON object: text, tokens, rates, a hash of all logits\n"
    "  --measure [--depth N]  rates of reading and writing, as JSON\n";

static int whole(const char *text, int64_t least, int64_t most, int64_t *value)
{
    char *end;
    errno = 0;
    const long long found = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || found < least || found > most) {
        return -1;
    }
    *value = found;
    return 0;
}

static int real(const char *text, float least, float most, float *value)
{
    char *end;
    const float found = strtof(text, &end);
    if (end == text || *end != '\0' || !(found >= least && found <= most)) {
        return -1;
    }
    *value = found;
    return 0;
}

static int small(const char *text, int32_t least, int32_t *value)
{
    int64_t found;
    if (whole(text, least, INT32_MAX, &found) != 0) {
        return -1;
    }
    *value = (int32_t)found;
    return 0;
}

static int seeded(const char *text, uint64_t *value)
{
    int64_t found;
    if (whole(text, 0, INT64_MAX, &found) != 0) {
        return -1;
    }
    *value = (uint64_t)found;
    return 0;
}

static int stops(br_options *o, const char *text)
{
    if (o->stop_count == BR_STOPS || text[0] == '\0' || strlen(text) >= BR_STOP_BYTES) {
        return -1;
    }
    o->stops[o->stop_count++] = text;
    return 0;
}

/* An option with a value: 0; -1: a bad value; 1: there is no such option. */
static int valued(br_options *o, const char *name, const char *value)
{
    br_sample_settings *const s = &o->sampling;
    const struct {
        const char *name;
        const char **text;
        int32_t *number;
        int32_t least;
        float *real;
        float most;
    } known[] = {
        {"--prompt", &o->prompt, NULL, 0, NULL, 0.0f},         {"--system", &o->system, NULL, 0, NULL, 0.0f},
        {"--weights", &o->weights, NULL, 0, NULL, 0.0f},       {"--isa", &o->isa, NULL, 0, NULL, 0.0f},
        {"--threads", NULL, &o->threads, 0, NULL, 0.0f},       {"--context", NULL, &o->context, 1, NULL, 0.0f},
        {"--tokens", NULL, &o->tokens, 1, NULL, 0.0f},         {"--depth", NULL, &o->depth, 0, NULL, 0.0f},
        {"--top-k", NULL, &s->top_k, 0, NULL, 0.0f},           {"--temperature", NULL, NULL, 0, &s->temperature, 100.0f},
        {"--top-p", NULL, NULL, 0, &s->top_p, 1.0f},           {"--min-p", NULL, NULL, 0, &s->min_p, 1.0f},
        {"--repeat-penalty", NULL, NULL, 0, &s->repeat_penalty, 100.0f},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            if (known[i].text != NULL) {
                *known[i].text = value;
                return 0;
            }
            return known[i].number != NULL ? small(value, known[i].least, known[i].number)
                                           : real(value, 0.0f, known[i].most, known[i].real);
        }
    }
    return strcmp(name, "--seed") == 0 ? seeded(value, &s->seed) : strcmp(name, "--stop") == 0 ? stops(o, value) : 1;
}

int br_options_read(br_options *options, int argc, char **argv, const char **wrong)
{
    for (int i = 1; i < argc; i++) {
        *wrong = argv[i];
        if (strcmp(argv[i], "--json") == 0) {
            options->json = 1;
        } else if (strcmp(argv[i], "--measure") == 0) {
            options->measure = 1;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options->help = 1;
        } else if (i + 1 == argc || valued(options, argv[i], argv[i + 1]) != 0) {
            return -1;
        } else {
            i++;
        }
    }
    return options->sampling.repeat_penalty > 0.0f ? 0 : -1;
}
