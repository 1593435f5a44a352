/* SPDX-License-Identifier: 0BSD
 * Draws the next token from logits: penalty, top-k, top-p, min-p, temperature, in this order. The same logits, settings
 * and seed give the same token on every machine: plain float32 in one order.
 */
#ifndef BR_SAMPLE_H
#define BR_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BR_RECENT 64 /* tokens that a penalty remembers */

typedef struct {
    float temperature;    /* 0: the likeliest, always */
    int32_t top_k;        /* only the k likeliest; 0: all */
    float top_p;          /* only the likeliest that together have this share; 1: all */
    float min_p;          /* only those at least this often as likely as the likeliest; 0: all */
    float repeat_penalty; /* of tokens among the last BR_RECENT; 1: none */
    uint64_t seed;
} br_sample_settings;

typedef struct {
    float logit, weight;
    int32_t token;
} br_candidate;

typedef struct {
    br_sample_settings settings;
    uint64_t state;
    int32_t recent[BR_RECENT];
    size_t count; /* of tokens noted so far */
} br_sampler;

void br_sampler_start(br_sampler *sampler, const br_sample_settings *settings);

/* A token that now stands in the text, a prompt's too: the penalty counts it. */
void br_sampler_note(br_sampler *sampler, int32_t token);

/* The next token; `work` has room for `count` candidates, `count` > 0. Of equal logits the first one is the likelier. */
int32_t br_sample(br_sampler *sampler, const float *logits, size_t count, br_candidate *work);

#ifdef __cplusplus
}
#endif

#endif
