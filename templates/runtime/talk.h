/* SPDX-License-Identifier: 0BSD
 * A language model that reads and writes text: the tokens of a text go in, what follows comes out as it is made.
 */
#ifndef BR_TALK_H
#define BR_TALK_H

#include "sample.h"
#include "typing.h"
#include "vocabulary.h"

#include <signal.h>

/* A brain, whatever its name. The functions are those of NAME.h. */
typedef struct {
    void *brain;
    int (*prefill)(void *brain, const int32_t *tokens, size_t n);
    int (*decode)(void *brain, int32_t token, const float **logits);
    const float *(*logits)(const void *brain);
    void (*forget)(void *brain);
    int32_t (*left)(const void *brain); /* positions that are free */
    int32_t tokens;                     /* in its vocabulary */
} br_model;

/* Texts around what two sides say; system_before is NULL where there is no such thing. */
typedef struct {
    const char *opening, *after_user, *after_answer, *system_before, *system_after;
    int trims;
} br_chat;

typedef enum { BR_DONE, BR_STOP, BR_LIMIT, BR_CONTEXT, BR_INTERRUPTED } br_end;

typedef struct {
    br_model model;
    br_vocabulary vocabulary;
    br_sampler sampler;
    br_typing typing;
    br_candidate *candidates; /* model.tokens of them */
    int32_t *tokens;          /* the last text that was read, or written */
    size_t capacity, count;
    void *work;               /* for tokenizing */
    size_t room;
    uint64_t hash;            /* of all logits that a token was drawn from, if `hashing` */
    int hashing;
    volatile sig_atomic_t *interrupted;
} br_talk;

enum { BR_READ = 0, BR_TOO_LONG = -1, BR_NO_WORK = -2 };

/* Reads a text, `flags` as for br_tokenize. BR_READ; BR_TOO_LONG: it has more tokens (talk->count) than there are free
 * positions, and nothing was read; BR_NO_WORK: it has more bytes than the work space is for. */
int br_talk_read(br_talk *talk, const char *text, size_t bytes, int flags);

/* Reads before, said and behind, one after the other. What was said cannot contain control tokens. */
int br_talk_turn(br_talk *talk, const char *before, const char *said, const char *behind, char *space, size_t room);

/* Writes up to `most` tokens; says why it ended. The token that ends is not read by the model. */
br_end br_talk_write(br_talk *talk, size_t most);

#endif
