/* SPDX-License-Identifier: 0BSD
 * What a language model's program is told on its command line.
 */
#ifndef BR_OPTIONS_H
#define BR_OPTIONS_H

#include "sample.h"
#include "typing.h"

typedef struct {
    const char *prompt;  /* NULL: a conversation, or the text that comes in */
    const char *system;  /* NULL: what the chat format has */
    const char *weights, *isa;
    const char *stops[BR_STOPS];
    size_t stop_count;
    int32_t threads, context, tokens; /* 0: all there are */
    br_sample_settings sampling;
    int json, help, measure;
    int32_t depth;       /* of a measurement */
} br_options;

/* Reads a command line over what stands in `options`. 0, or -1: `*wrong` says what is wrong. */
int br_options_read(br_options *options, int argc, char **argv, const char **wrong);

extern const char br_options_help[];

#endif
