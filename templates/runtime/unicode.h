/* SPDX-License-Identifier: 0BSD
 * Characters: how UTF-8 spells them, and which of five kinds each is of. */
#ifndef BR_UNICODE_H
#define BR_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* Kinds of characters, as bits, so that a set of them is a sum. No character is of no kind. */
enum { BR_LETTER = 1, BR_NUMBER = 2, BR_SPACE = 4, BR_PUNCTUATION = 8, BR_OTHER = 16 };

/* The table behind br_kind (unicode_table.c), in order: where a run of one kind begins, times 8, plus 0 other,
 * 1 letter, 2 number, 3 punctuation, 4 space. */
extern const uint32_t br_unicode_runs[];
extern const uint32_t br_unicode_run_count;

/* The kind of a character: its Unicode category (L, N, P), White_Space first. */
int br_kind(uint32_t code);

/* The character that begins at text[at], at < end, and *next, where the one behind it begins. Bytes that spell nothing
 * are read one by one as U+FFFD. What is longer than need be, and surrogates, are read as what they stand for. */
uint32_t br_utf8_read(const uint8_t *text, size_t at, size_t end, size_t *next);

/* Spells a character in 1 to 4 bytes (or only counts them, where `to` is NULL); how many. */
size_t br_utf8_write(uint32_t code, uint8_t *to);

#endif
