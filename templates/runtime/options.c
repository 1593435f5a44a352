/* SPDX-License-Identifier: 0BSD */
#include "options.h"
#include "pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void br_options_help(const br_options *options, const char *name)
{
    const br_sample_settings *const s = &options->sampling;
    printf("%s: a language model\n\n", name);
    printf("usage: %s [--prompt TEXT] [OPTION ...]\n\n", name);
    puts("  --prompt TEXT        continue this text; without it, talk (or continue what comes in, if it cannot chat)");
    puts("  --system TEXT        who the model is to be in a conversation");
    puts("  --tokens N           write at most so many");
    puts("  --stop TEXT          end before this text; may be repeated");
    puts("  --temperature X      0: always the likeliest token; higher: more surprising");
    puts("  --top-k N            only the N likeliest tokens; 0: all");
    puts("  --top-p X            only the likeliest tokens that together have this share; 1: all");
    puts("  --min-p X            only tokens at least this often as likely as the likeliest; 0: all");
    puts("  --repeat-penalty X   above 1: what was said of late is less likely");
    puts("  --seed N             the same seed, the same text, on every machine");
    printf("  --threads N          up to %d; 0: one for each processor\n", BR_THREADS);
    printf("  --context N          positions to use, up to %d\n", (int)options->context);
    fputs("  --isa NAME           kernels to run:", stdout);
    for (const char *const *isa = options->isas; *isa != NULL; isa++) {
        printf(" %s", *isa);
    }
    puts("; by itself the best that this CPU has");
    printf("  --weights FILE       instead of %s.weights beside the program\n", name);
    puts("  --json               one JSON object: text, tokens, rates, a hash of all logits");
    puts("  --measure            rates of reading and writing, as JSON; with --depth N behind so many tokens");
    puts("  --help               this text\n");
    printf("By itself: --temperature %g --top-k %d --top-p %g --min-p %g --repeat-penalty %g --seed %llu\n",
           (double)s->temperature, (int)s->top_k, (double)s->top_p, (double)s->min_p, (double)s->repeat_penalty,
           (unsigned long long)s->seed);
    puts("Exit status: 0; 2 a wrong command line or text; 3 what the machine has not; 130 interrupted.");
}

/* An option with a value: one of the pointers is where it goes; numbers have limits. */
typedef struct {
    const char *name;
    const char **text;
    int32_t *whole;
    float *real;
    double least, most;
} option;

static int set_whole(const option *o, const char *value)
{
    char *end;
    errno = 0;
    const long long found = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || (double)found < o->least || (double)found > o->most) {
        return -1;
    }
    *o->whole = (int32_t)found;
    return 0;
}

static int set_real(const option *o, const char *value)
{
    char *end;
    const double found = strtod(value, &end);
    if (end == value || *end != '\0' || !(found >= o->least && found <= o->most)) {
        return -1;
    }
    *o->real = (float)found;
    return 0;
}

static int set_seed(uint64_t *seed, const char *value)
{
    char *end;
    errno = 0;
    const unsigned long long found = strtoull(value, &end, 10);
    if (errno != 0 || value[0] < '0' || value[0] > '9' || *end != '\0') {
        return -1;
    }
    *seed = found;
    return 0;
}

static int is_among(const char *const *names, const char *name)
{
    while (*names != NULL && strcmp(*names, name) != 0) {
        names++;
    }
    return *names != NULL;
}

/* Sets one of the options that are a text or a number. 0; 1: there is none of this name; -1: the value is wrong. */
static int set(const option *known, size_t count, const char *name, const char *value, char *wrong, size_t room)
{
    for (size_t i = 0; i < count; i++) {
        const option *const o = &known[i];
        if (strcmp(name, o->name) != 0) {
            continue;
        }
        if (o->text != NULL) {
            *o->text = value;
            return 0;
        }
        if ((o->whole != NULL ? set_whole(o, value) : set_real(o, value)) == 0) {
            return 0;
        }
        snprintf(wrong, room, "%s: '%s' is no %snumber from %.10g to %.10g", name, value, o->whole != NULL ? "whole " : "",
                 o->least, o->most);
        return -1;
    }
    return 1;
}

/* Sets any option with a value; as `set`. */
static int set_any(br_options *o, int32_t context, const char *name, const char *value, char *wrong, size_t room)
{
    br_sample_settings *const s = &o->sampling;
    const option known[] = {
        {.name = "--prompt", .text = &o->prompt},
        {.name = "--system", .text = &o->system},
        {.name = "--weights", .text = &o->weights},
        {.name = "--isa", .text = &o->isa},
        {.name = "--threads", .whole = &o->threads, .most = BR_THREADS},
        {.name = "--context", .whole = &o->context, .least = 1, .most = context},
        {.name = "--tokens", .whole = &o->tokens, .least = 1, .most = INT32_MAX},
        {.name = "--depth", .whole = &o->depth, .most = context - 1},
        {.name = "--top-k", .whole = &s->top_k, .most = INT32_MAX},
        {.name = "--temperature", .real = &s->temperature, .most = 100},
        {.name = "--top-p", .real = &s->top_p, .most = 1},
        {.name = "--min-p", .real = &s->min_p, .most = 1},
        {.name = "--repeat-penalty", .real = &s->repeat_penalty, .least = 0.01, .most = 100},
    };
    if (strcmp(name, "--seed") == 0) {
        snprintf(wrong, room, "--seed: '%s' is no whole number from 0 on", value);
        return set_seed(&s->seed, value);
    }
    if (strcmp(name, "--stop") == 0) {
        snprintf(wrong, room, "--stop: up to %d texts of 1 to %d bytes", BR_STOPS, BR_STOP_BYTES - 1);
        return br_typing_stop(&o->typing, value);
    }
    if (strcmp(name, "--isa") == 0 && !is_among(o->isas, value)) {
        snprintf(wrong, room, "--isa: there is no '%s'; --help lists what there is", value);
        return -1;
    }
    return set(known, sizeof known / sizeof known[0], name, value, wrong, room);
}

int br_options_read(br_options *options, int argc, char **argv, char *wrong, size_t room)
{
    const int32_t context = options->context;
    for (int i = 1; i < argc; i++) {
        const char *const name = argv[i], *const value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--json") == 0) {
            options->json = 1;
        } else if (strcmp(name, "--measure") == 0) {
            options->measure = 1;
        } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            options->help = 1;
        } else {
            const int found = set_any(options, context, name, value == NULL ? "" : value, wrong, room);
            if (found == 1) {
                snprintf(wrong, room, "there is no option '%s'; --help lists them", name);
            } else if (value == NULL) {
                snprintf(wrong, room, "%s needs a value", name);
            }
            if (found != 0 || value == NULL) {
                return -1;
            }
            i++;
        }
    }
    return 0;
}
