/* SPDX-License-Identifier: 0BSD
 * A language model that reads and writes text: the tokens of a text go in, what follows comes out as it is made.
 */
#ifndef BR_TALK_H
#define BR_TALK_H

#include "sample.h"
#include "typing.h"
#include "vocabulary.h"

#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A brain, whatever its name: what it can do (the functions are those of NAME.h) and what is known of it. */
typedef struct {
    void *brain;
    int (*prefill)(void *brain, const int32_t *tokens, size_t n);
    int (*decode)(void *brain, int32_t token, const float **logits);
    const float *(*logits)(const void *brain);
    void (*forget)(void *brain);
    int32_t (*left)(const void *brain); /* positions that are free */
    int32_t tokens, block;              /* in its vocabulary; read at once */
    int32_t context, threads;           /* from here on: of the brain that was opened */
    const char *isa;
    const void *vocabulary;
    size_t vocabulary_bytes;
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
    const volatile sig_atomic_t *interrupted;
} br_talk;

/* What became of a text: it was read; it has more tokens (talk->count) than there are free positions; more bytes than
 * the work space is for; no tokens. Of a text that is not read nothing is. */
typedef enum { BR_READ, BR_TOO_LONG, BR_NO_WORK, BR_EMPTY } br_reading;

/* Reads a text, `flags` as for br_tokenize. An interrupt ends it early: then nothing is written behind it. */
br_reading br_talk_read(br_talk *talk, const char *text, size_t bytes, int flags);

/* Reads before, said and behind, one after the other, joined in `space`. What was said cannot contain control tokens. */
br_reading br_talk_turn(br_talk *talk, const char *before, const char *said, const char *behind, char *space,
                        size_t room);

/* Writes up to `most` tokens; says why it ended. The token that ends is not read by the model. */
br_end br_talk_write(br_talk *talk, size_t most);

#ifdef __cplusplus
}
#endif

#endif
