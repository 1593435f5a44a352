/* SPDX-License-Identifier: 0BSD
 * Words: each pattern of words.h, written out. Its alternatives are tried from left to right, like those of a regular
 * expression; a piece sees nothing of the text around it. */
#include "words.h"

#include "unicode.h"

enum { NOTHING = 0, MARK = BR_PUNCTUATION | BR_OTHER };

/* A character, its kind, and where the next one begins. Behind the end: of no kind. */
typedef struct { uint32_t code; int kind; size_t next; } letter_t;

static letter_t look(const uint8_t *text, size_t at, size_t end)
{
    letter_t letter = {0xFFFFFFFFu, NOTHING, at};
    if (at < end) {
        letter.code = br_utf8_read(text, at, end, &letter.next);
        letter.kind = br_kind(letter.code);
    }
    return letter;
}

/* The end of the characters of these kinds that begin at `at`. */
static size_t run(const uint8_t *text, size_t at, size_t end, int kinds)
{
    letter_t letter = look(text, at, end);
    while (letter.kind & kinds) {
        at = letter.next;
        letter = look(text, at, end);
    }
    return at;
}

/* 's 't 're 've 'm 'll 'd: how many bytes, or 0. `fold`: 32 takes capitals for small ones, 0 does not. */
static size_t contraction(const uint8_t *text, size_t at, size_t end, int fold)
{
    if (end - at < 2 || text[at] != '\'') {
        return 0;
    }
    const int a = text[at + 1] < 0x80 ? text[at + 1] | fold : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
        return 2;
    }
    const int b = end - at > 2 && text[at + 2] < 0x80 ? text[at + 2] | fold : 0;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ : all spaces, but for the last where something follows two or more. */
static size_t spaces(const uint8_t *text, size_t at, size_t end)
{
    size_t last = at;
    letter_t letter = look(text, at, end);
    while (letter.kind == BR_SPACE) {
        last = at;
        at = letter.next;
        letter = look(text, at, end);
    }
    return letter.kind == NOTHING ? at : last;
}

static size_t spaces_or_one(const uint8_t *text, size_t at, size_t end)
{
    const size_t stop = spaces(text, at, end);
    return stop > at ? stop : look(text, at, end).next;
}

static size_t gpt2(const uint8_t *text, size_t at, size_t end)
{
    const size_t short_word = contraction(text, at, end, 0);
    if (short_word > 0) {
        return at + short_word;
    }
    const size_t start = text[at] == ' ' ? at + 1 : at;
    const int kind = look(text, start, end).kind;
    if (kind & (BR_LETTER | BR_NUMBER)) {
        return run(text, start, end, kind);
    }
    return kind & MARK ? run(text, start, end, MARK) : spaces_or_one(text, at, end);
}

/* Up to `most` numbers. */
static size_t numbers(const uint8_t *text, size_t at, size_t end, int most)
{
    letter_t letter = look(text, at, end);
    for (; letter.kind == BR_NUMBER && most > 0; most--) {
        at = letter.next;
        letter = look(text, at, end);
    }
    return at;
}

/* \s*[\r\n]+ : the spaces that begin here up to their last line end, or nothing. */
static size_t lines(const uint8_t *text, size_t at, size_t end)
{
    size_t stop = at;
    letter_t letter = look(text, at, end);
    while (letter.kind == BR_SPACE) {
        at = letter.next;
        stop = letter.code == '\r' || letter.code == '\n' ? at : stop;
        letter = look(text, at, end);
    }
    return stop;
}

static size_t qwen2(const uint8_t *text, size_t at, size_t end, int digits)
{
    const size_t short_word = contraction(text, at, end, 0x20);
    if (short_word > 0) {
        return at + short_word;
    }
    const letter_t first = look(text, at, end);
    if (first.kind == BR_NUMBER) {
        return numbers(text, at, end, digits);
    }
    if (first.code != '\r' && first.code != '\n') {
        if (first.kind == BR_LETTER || look(text, first.next, end).kind == BR_LETTER) {
            return run(text, first.next, end, BR_LETTER);
        }
    }
    const size_t start = first.code == ' ' ? first.next : at;
    if (look(text, start, end).kind & MARK) {
        size_t stop = run(text, start, end, MARK);
        while (stop < end && (text[stop] == '\r' || text[stop] == '\n')) {
            stop++;
        }
        return stop;
    }
    const size_t stop = lines(text, at, end);
    return stop > at ? stop : spaces_or_one(text, at, end);
}

/* What a pattern takes at `at`, 0 if nothing: for the ways that cut something out and leave the rest. */
static size_t taken(int cut, const uint8_t *text, size_t at, size_t end)
{
    if (cut == BR_CUT_DIGITS) {
        size_t stop = at;
        while (stop < end && stop < at + 3 && text[stop] >= '0' && text[stop] <= '9') {
            stop++;
        }
        return stop == at + 3 ? 3 : 0;
    }
    if (cut != BR_CUT_MARKS) {
        return numbers(text, at, end, cut == BR_CUT_NUMBER ? 1 : INT32_MAX) - at;
    }
    size_t stop = at;
    letter_t letter = look(text, at, end);
    while (letter.kind == BR_PUNCTUATION || letter.code == '$' || letter.code == '+' || letter.code == '^'
        || letter.code == '~' || letter.code == '|' || (letter.code >= '<' && letter.code <= '>')) {
        stop = letter.next;
        letter = look(text, stop, end);
    }
    return stop - at;
}

size_t br_word_end(int cut, const uint8_t *text, size_t at, size_t end)
{
    switch (cut) {
    case BR_CUT_GPT2:
        return gpt2(text, at, end);
    case BR_CUT_QWEN2:
        return qwen2(text, at, end, 1);
    case BR_CUT_LLAMA3:
        return qwen2(text, at, end, 3);
    default:
        break;
    }
    const size_t length = taken(cut, text, at, end);
    if (length > 0) {
        return at + length;
    }
    while (at < end && taken(cut, text, at, end) == 0) {
        at = look(text, at, end).next;
    }
    return at;
}
