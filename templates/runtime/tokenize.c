/* SPDX-License-Identifier: 0BSD
 * Text to tokens: special tokens are found first; what lies between is spelt, cut into words, and merged. */
#include "merge.h"
#include "unicode.h"
#include "words.h"

#include <string.h>

#define SPACE "\xE2\x96\x81" /* how vocabularies with scores write it */
#define MOST_BYTES ((size_t)1 << 28)
enum { HIDDEN = BR_TOKEN_CONTROL | BR_TOKEN_UNKNOWN, SPECIAL = HIDDEN | BR_TOKEN_USER };

/* A tokenization under way: what is left of the work space, and the tokens so far. */
typedef struct {
    const br_vocabulary *vocabulary;
    uint8_t *work;
    size_t room;
    int32_t *tokens;
    size_t capacity, count;
    int failed;
} state_t;

static void *take(state_t *s, size_t bytes)
{
    void *part = s->work;
    bytes = (bytes + 7) / 8 * 8;
    if (s->failed || bytes > s->room) {
        s->failed = 1;
        return NULL;
    }
    s->work += bytes;
    s->room -= bytes;
    return part;
}

static void put(state_t *s, int32_t token)
{
    if (s->count < s->capacity) {
        s->tokens[s->count] = token;
    }
    s->count++;
}

/* The bytes of a symbol that is no token. Those that can be seen have one each; others get lost (as in llama.cpp). */
static void put_bytes(state_t *s, const uint8_t *text, size_t bytes)
{
    const br_vocabulary *v = s->vocabulary;
    for (size_t i = 0; i < bytes; i++) {
        const int32_t symbol = v->bytes[text[i]];
        if (v->head->kind == 2 && symbol >= 0) {
            put(s, symbol);
        } else if (v->head->kind == 1 && text[i] > ' ' && text[i] < 0x7F && symbol < (int32_t)v->head->tokens) {
            put(s, symbol);
        }
    }
}

static void put_symbol(state_t *s, int32_t symbol, const uint8_t *text, size_t bytes)
{
    const br_vocabulary *v = s->vocabulary;
    const int32_t tokens = (int32_t)v->head->tokens;
    const int32_t token = symbol < tokens ? symbol : v->others[symbol - tokens];
    if (token < 0) {
        put_bytes(s, text, bytes);
    } else {
        put(s, token);
    }
}

/* Tokens of a text that nothing cuts any more. */
static void put_word(state_t *s, const uint8_t *text, size_t bytes)
{
    const br_vocabulary *v = s->vocabulary;
    const state_t saved = *s;
    br_merging merge;
    if (v->head->flags & BR_VOCABULARY_WHOLE) {
        const int32_t symbol = br_vocabulary_find(v, text, bytes);
        if (symbol >= 0) {
            put_symbol(s, symbol, text, bytes);
            return;
        }
    }
    void *work = take(s, br_merge_work(bytes));
    if (work == NULL) {
        return;
    }
    br_merge(&merge, v, text, bytes, work);
    for (uint32_t part = 0; part < merge.bytes; part = merge.behind[part]) {
        const size_t length = merge.behind[part] - part;
        const int32_t symbol =
            v->head->kind == 1 ? (int32_t)merge.symbols[part] : br_vocabulary_find(v, text + part, length);
        put_symbol(s, symbol, text + part, length);
    }
    s->work = saved.work;
    s->room = saved.room;
}

/* Cuts a text in one way, the pieces in the next, and so on. */
static void put_words(state_t *s, const uint8_t *text, size_t at, size_t end, int way)
{
    const int cut = way < 4 ? s->vocabulary->head->cuts[way] : BR_CUT_NONE;
    if (cut == BR_CUT_NONE) {
        put_word(s, text + at, end - at);
        return;
    }
    while (at < end && !s->failed) {
        const size_t stop = br_word_end(cut, text, at, end);
        put_words(s, text, at, stop, way + 1);
        at = stop;
    }
}

/* The text as the vocabulary spells it (kind 1: shortest UTF-8; 2: spaces as U+2581); NULL: only how many bytes. */
static size_t spell(const br_vocabulary *v, const uint8_t *text, size_t bytes, int space, uint8_t *to)
{
    size_t length = 0;
    if (space) {
        length = 3;
        if (to != NULL) {
            memcpy(to, SPACE, 3);
        }
    }
    for (size_t at = 0; at < bytes;) {
        uint8_t *place = to == NULL ? NULL : to + length;
        if (v->head->kind == 1) {
            length += br_utf8_write(br_utf8_read(text, at, bytes, &at), place);
        } else {
            const size_t count = text[at] == ' ' ? 3 : 1;
            if (place != NULL) {
                memcpy(place, count == 3 ? (const void *)SPACE : text + at, count);
            }
            length += count;
            at++;
        }
    }
    return length;
}

/* Tokens of a text without special tokens. */
static void put_text(state_t *s, const uint8_t *text, size_t bytes, int after_special)
{
    const br_vocabulary *v = s->vocabulary;
    const int space = after_special && v->head->kind == 2 && (v->head->flags & BR_VOCABULARY_ADD_SPACE);
    const state_t saved = *s;
    const size_t length = spell(v, text, bytes, space, NULL);
    uint8_t *spelt = take(s, length);
    if (spelt == NULL) {
        return;
    }
    spell(v, text, bytes, space, spelt);
    put_words(s, spelt, 0, length, 0);
    s->work = saved.work;
    s->room = saved.room;
}

enum { FREE, FIRST, REST };

/* Writes where tokens with some of the `wanted` marks and none `unwanted` stand: the longest first, then from the left;
 * none over another. As every one before is as long as this or longer, it is free if its two ends are. */
static void find_specials(const br_vocabulary *v, const uint8_t *text, size_t bytes, int wanted, int unwanted,
    uint8_t *places)
{
    memset(places, FREE, bytes);
    for (uint32_t i = 0; i < v->head->lengths; i++) {
        const size_t length = v->lengths[i];
        for (size_t at = 0; length <= bytes && at <= bytes - length; at++) {
            if (!(v->firsts[text[at]] & wanted) || places[at] != FREE || places[at + length - 1] != FREE) {
                continue;
            }
            const int32_t token = br_vocabulary_special(v, text + at, length);
            if (token >= 0 && (v->marks[token] & wanted) && !(v->marks[token] & unwanted)) {
                memset(places + at, REST, length);
                places[at] = FIRST;
                at += length - 1;
            }
        }
    }
}

/* Tokens of a text in which special ones are marked. */
static void put_all(state_t *s, const uint8_t *text, const uint8_t *places, size_t bytes)
{
    int after_special = 1;
    for (size_t at = 0, stop; at < bytes && !s->failed; at = stop) {
        const uint8_t same = places[at] == FREE ? FREE : REST;
        for (stop = at + 1; stop < bytes && places[stop] == same; stop++) {
        }
        if (same == FREE) {
            put_text(s, text + at, stop - at, after_special);
        } else {
            put(s, br_vocabulary_special(s->vocabulary, text + at, stop - at));
        }
        after_special = same != FREE;
    }
}

size_t br_tokenize_work(size_t bytes)
{
    const size_t spelt = 3 * bytes + 3; /* every byte is U+FFFD, or a space */
    return bytes + spelt + br_merge_work(spelt) + 24;
}

int32_t br_tokenize(const br_vocabulary *v, const char *text, size_t bytes, int flags, void *work, size_t room,
    int32_t *tokens, size_t capacity)
{
    state_t s = {v, work, room, tokens, capacity, 0, bytes >= MOST_BYTES};
    const int ends = flags & BR_ADD_ENDS, all = flags & BR_PARSE_SPECIAL;
    uint8_t *places = take(&s, bytes);
    if (places == NULL) {
        return -1;
    }
    if (ends && (v->head->flags & BR_VOCABULARY_ADD_BOS) && v->head->bos >= 0) {
        put(&s, v->head->bos);
    }
    find_specials(v, (const uint8_t *)text, bytes, all ? SPECIAL : BR_TOKEN_USER, all ? 0 : HIDDEN, places);
    put_all(&s, (const uint8_t *)text, places, bytes);
    if (ends && (v->head->flags & BR_VOCABULARY_ADD_EOS) && v->head->eos >= 0) {
        put(&s, v->head->eos);
    }
    return s.failed ? -1 : (int32_t)s.count;
}
