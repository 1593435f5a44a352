/* SPDX-License-Identifier: 0BSD
 * The vocabulary of a language model: text to tokens, and tokens to text. It is read where it lies, in the section that
 * the compiler wrote (vocabulary_section.py says how); nothing is allocated and nothing global is written. */
#ifndef BR_VOCABULARY_H
#define BR_VOCABULARY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The beginning of the section. All numbers are little-endian; a part lies `at` so many bytes behind the beginning. */
typedef struct {
    uint32_t magic, version;      /* "brv1"; 1 */
    uint32_t bytes;               /* of the whole section */
    uint32_t kind;                /* 1: merges byte pairs; 2: merges by scores */
    uint8_t cuts[4];              /* ways to cut words (words.h), one after the other */
    uint32_t flags;               /* BR_VOCABULARY_… */
    int32_t bos, eos, eot, unk;   /* tokens that begin, end, end a turn, stand for what is unknown; -1: none */
    uint32_t tokens, symbols;     /* symbols: the tokens, and behind them what merges pass through */
    uint32_t merges;
    uint32_t longest;             /* bytes of the longest token */
    uint32_t lengths;             /* how many different lengths special tokens have */
    uint32_t text_bits, pair_bits, special_bits; /* the tables below have 2^bits places */
    uint32_t at_starts;           /* u32[symbols + 1]: where the bytes of each begin among the pieces */
    uint32_t at_pieces, piece_bytes;
    uint32_t at_marks;            /* u8[tokens]: BR_TOKEN_… */
    uint32_t at_ranks;            /* u32[tokens], kind 2: what is merged first has the lowest */
    uint32_t at_others;           /* i32[symbols - tokens]: the token that a symbol is, or -1 */
    uint32_t at_bytes;            /* i32[256]: kind 1: the symbol of a byte; 2: the token of a byte, or -1 */
    uint32_t at_texts;            /* u32[2^text_bits]: 1 + symbol, found by the bytes of the text; 0: nobody */
    uint32_t at_pairs;            /* u32[2^pair_bits]: 1 + merge, found by left and right */
    uint32_t at_merges;           /* u32[merges][3]: left, right, what they make; the first are merged first */
    uint32_t at_specials;         /* u32[2^special_bits]: 1 + token, found by its bytes */
    uint32_t at_lengths;          /* u32[lengths]: the longest first */
    uint32_t at_firsts;           /* u8[256]: marks of the special tokens that begin with this byte */
} br_vocabulary_head;

enum {
    BR_VOCABULARY_ADD_BOS = 1,
    BR_VOCABULARY_ADD_EOS = 2,
    BR_VOCABULARY_ADD_SPACE = 4,  /* a space before text that begins or follows a special token (kind 2) */
    BR_VOCABULARY_WHOLE = 8       /* a word that is a token is not merged (kind 1) */
};

enum {
    BR_TOKEN_UNKNOWN = 1,
    BR_TOKEN_UNUSED = 2,
    BR_TOKEN_NORMAL = 4,
    BR_TOKEN_CONTROL = 8,
    BR_TOKEN_USER = 16,           /* found in a text before anything else */
    BR_TOKEN_BYTE = 32,
    BR_TOKEN_ENDS = 64            /* the model says it when it is done */
};

/* Where the parts lie. */
typedef struct {
    const br_vocabulary_head *head;
    const uint8_t *pieces, *marks, *firsts;
    const uint32_t *starts, *ranks, *texts, *pairs, *merges, *specials, *lengths;
    const int32_t *others, *bytes;
} br_vocabulary;

/* Finds the parts of a section (at a multiple of 4 bytes; it stays there), and sees that nothing in it leads out of it.
 * 0, or -1: not one, cut short, or damaged. */
int br_vocabulary_open(br_vocabulary *vocabulary, const void *section, size_t bytes);

enum {
    BR_PARSE_SPECIAL = 1,         /* what looks like a control token is one; else it is text like any other */
    BR_ADD_ENDS = 2               /* begin and end as the vocabulary's flags say */
};

/* Bytes of work space that surely suffice for a text of so many bytes. Most texts need a twentieth. */
size_t br_tokenize_work(size_t bytes);

/* The tokens of a text (any bytes; what is not UTF-8 is read as U+FFFD). At most `capacity` are written; the result is
 * how many there are, or -1 if the work space (at a multiple of 8) is too small, or the text has 256 MB or more. */
int32_t br_tokenize(const br_vocabulary *vocabulary, const char *text, size_t bytes, int flags, void *work,
    size_t room, int32_t *tokens, size_t capacity);

/* The bytes of a token: at most `capacity` are written; the result is how many there are. They need not be whole
 * characters. Control tokens have none unless `special`. A number that is no token has none. */
size_t br_token_text(const br_vocabulary *vocabulary, int32_t token, int special, char *text, size_t capacity);

/* Whether the model is done when it says this. */
int br_token_ends(const br_vocabulary *vocabulary, int32_t token);

/* For tokenize.c and merge.c: the symbol with these bytes, or -1; the special token with these bytes, or -1; the merge
 * of two symbols, or UINT32_MAX. */
int32_t br_vocabulary_find(const br_vocabulary *vocabulary, const uint8_t *text, size_t bytes);
int32_t br_vocabulary_special(const br_vocabulary *vocabulary, const uint8_t *text, size_t bytes);
uint32_t br_vocabulary_pair(const br_vocabulary *vocabulary, uint32_t left, uint32_t right);

#ifdef __cplusplus
}
#endif

#endif
