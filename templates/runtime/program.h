/* SPDX-License-Identifier: 0BSD
 * The program around a language model: main.c gives it the model and what it is to do by itself.
 */
#ifndef BR_PROGRAM_H
#define BR_PROGRAM_H

#include "options.h"
#include "talk.h"

typedef struct {
    const char *name;     /* of the brain; its weights are NAME.weights beside the program */
    const br_chat *chat;  /* NULL: it cannot chat */
    br_options defaults;
    br_model model;       /* open fills in what is known of the brain that it opens */
    int (*open)(br_model *model, const br_options *options, const char *weights);
    void (*close)(void *brain);
    const char *(*error)(int code);
    int no_weights, wrong_weights, no_isa; /* codes whose way out depends on the command line */
} br_program;

/* Runs; the result is the exit status: 0, 2 a wrong command line or text, 3 what the machine has not, 130 interrupted. */
int br_program_run(const br_program *program, int argc, char **argv);

#endif
