/* SPDX-License-Identifier: 0BSD
 * What a language model's program is told on its command line.
 */
#ifndef BR_OPTIONS_H
#define BR_OPTIONS_H

#include "sample.h"
#include "typing.h"

typedef struct {
    const char *prompt;      /* NULL: a conversation, or the text that comes in */
    const char *system;      /* NULL: what the chat format has */
    const char *weights;     /* NULL: the file beside the program */
    const char *isa;         /* NULL: the best that this CPU has */
    const char *const *isas; /* that there are, the plain one first; NULL behind the last */
    int32_t threads;         /* 0: one for each processor */
    int32_t context;         /* positions; before a command line is read: as many as there are */
    int32_t tokens;          /* to write at most; 0: as many as the context has room for */
    br_sample_settings sampling;
    br_typing typing;        /* with its stop strings */
    int json, help, measure;
    int32_t depth;           /* of a measurement */
} br_options;

/* Reads a command line over what stands in `options`. 0, or -1: `wrong` (of `room` bytes) says what is wrong. */
int br_options_read(br_options *options, int argc, char **argv, char *wrong, size_t room);

/* Prints what there is to say on a command line, and what is meant where nothing is said. */
void br_options_help(const br_options *options, const char *name);

#endif
