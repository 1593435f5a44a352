/* SPDX-License-Identifier: 0BSD
 * Words: how a text is cut before byte pairs are merged. No merge crosses a cut. */
#ifndef BR_WORDS_H
#define BR_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* Ways to cut. A vocabulary names up to four, each of which cuts the pieces of the one before. */
enum {
    BR_CUT_NONE,
    BR_CUT_GPT2,    /* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
    BR_CUT_QWEN2,   /* (?i:'s|…)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
    BR_CUT_LLAMA3,  /* the same with \p{N}{1,3} */
    BR_CUT_NUMBER,  /* \p{N}, and what lies between */
    BR_CUT_NUMBERS, /* \p{N}+ */
    BR_CUT_DIGITS,  /* [0-9][0-9][0-9] */
    BR_CUT_MARKS,   /* [\p{P}$+<=>^~|]+ */
    BR_CUT_COUNT
};

/* Where the piece that begins at text[at] ends: at < result <= end. Text: UTF-8 as br_utf8_write spells it. */
size_t br_word_end(int cut, const uint8_t *text, size_t at, size_t end);

#endif
