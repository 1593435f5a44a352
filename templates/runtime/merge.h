/* SPDX-License-Identifier: 0BSD
 * Merging: neighbours become one, those of the lowest rank first (of several, the leftmost), until none have a rank. */
#ifndef BR_MERGE_H
#define BR_MERGE_H

#include "vocabulary.h"

/* Parts of a text, chained: each is named by the byte it begins at. The arrays are as long as the text, but `ranks`. */
typedef struct {
    const br_vocabulary *vocabulary;
    const uint8_t *text;
    uint32_t bytes;
    uint32_t *before, *behind; /* the part before; where the next begins (`bytes` behind the last) */
    uint32_t *symbols;         /* kind 1: what a part is */
    uint32_t *ranks;           /* a tree: place i has the lowest of 2 i and 2 i + 1; part p has place leaves + p */
    uint32_t leaves;
} br_merging;

/* Bytes that a merge of so many bytes of text takes, beginning at a multiple of 4. */
size_t br_merge_work(size_t bytes);

/* Cuts a text into bytes (kind 1) or characters (kind 2) and merges them. Follow `behind` from 0 to `bytes` then. */
void br_merge(br_merging *merge, const br_vocabulary *vocabulary, const uint8_t *text, size_t bytes, void *work);

#endif
