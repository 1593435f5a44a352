/* SPDX-License-Identifier: 0BSD
 * The vocabulary: a section is opened, things are looked up in it; a token's text. tokenize.c goes the other way. */
#include "vocabulary.h"

#include <string.h>

#define MAGIC 0x31767262u /* "brv1" */

/* A part of `count` things of `size` bytes that begins at `at` lies inside the section, and is aligned. */
static int inside(const br_vocabulary_head *head, uint32_t at, uint64_t count, uint32_t size)
{
    return at % size == 0 && at >= sizeof *head && at <= head->bytes && count <= (head->bytes - at) / size;
}

static int head_is_sound(const br_vocabulary_head *head)
{
    const uint32_t most = head->text_bits | head->pair_bits | head->special_bits;
    return most < 32 && (head->kind == 1 || (head->kind == 2 && head->symbols == head->tokens)) && head->tokens > 0
        && head->symbols >= head->tokens
        && head->symbols < INT32_MAX && inside(head, head->at_starts, (uint64_t)head->symbols + 1, 4)
        && inside(head, head->at_pieces, head->piece_bytes, 1) && inside(head, head->at_marks, head->tokens, 1)
        && inside(head, head->at_ranks, head->kind == 2 ? head->tokens : 0, 4)
        && inside(head, head->at_others, head->symbols - head->tokens, 4) && inside(head, head->at_bytes, 256, 4)
        && inside(head, head->at_texts, (uint64_t)1 << head->text_bits, 4)
        && inside(head, head->at_pairs, (uint64_t)1 << head->pair_bits, 4)
        && inside(head, head->at_merges, (uint64_t)head->merges * 3, 4)
        && inside(head, head->at_specials, (uint64_t)1 << head->special_bits, 4)
        && inside(head, head->at_lengths, head->lengths, 4) && inside(head, head->at_firsts, 256, 1);
}

/* All of these numbers, `plus` added, are at most `most`; plus 1 lets -1 pass, plus UINT32_MAX does not let 0. */
static int within(const void *numbers, size_t count, uint32_t plus, uint32_t most)
{
    const uint32_t *const number = numbers;
    size_t i = 0;
    while (i < count && number[i] + plus <= most) {
        i++;
    }
    return i == count;
}

/* A table: of things that there are, with an empty place where a search ends. */
static int table_is_sound(const uint32_t *table, uint32_t bits, uint32_t things)
{
    const size_t size = (size_t)1 << bits;
    return within(table, size, 0, things) && !within(table, size, UINT32_MAX, things);
}

/* Nothing in the parts leads out of them. */
static int parts_are_sound(const br_vocabulary *v)
{
    const br_vocabulary_head *const head = v->head;
    const int32_t named[] = {head->bos, head->eos, head->eot, head->unk};
    const int pairs = head->kind == 1;
    for (uint32_t i = 0; i < head->symbols; i++) {
        if (v->starts[i] > v->starts[i + 1]) {
            return 0;
        }
    }
    return v->starts[head->symbols] <= head->piece_bytes && within(named, 4, 1, head->tokens)
        && within(v->others, head->symbols - head->tokens, 1, head->tokens)
        && within(v->bytes, 256, pairs ? 0 : 1, pairs ? head->symbols - 1 : head->tokens)
        && within(v->merges, 3 * (size_t)head->merges, 0, head->symbols - 1)
        && within(v->lengths, head->lengths, UINT32_MAX, head->bytes)
        && table_is_sound(v->texts, head->text_bits, head->symbols)
        && table_is_sound(v->pairs, head->pair_bits, head->merges)
        && table_is_sound(v->specials, head->special_bits, head->tokens);
}

int br_vocabulary_open(br_vocabulary *vocabulary, const void *section, size_t bytes)
{
    const br_vocabulary_head *head = section;
    const uint8_t *base = section;
    if (bytes < sizeof *head || head->magic != MAGIC || head->version != 1 || head->bytes > bytes
        || !head_is_sound(head)) {
        return -1;
    }
    vocabulary->head = head;
    vocabulary->pieces = base + head->at_pieces;
    vocabulary->marks = base + head->at_marks;
    vocabulary->firsts = base + head->at_firsts;
    vocabulary->starts = (const void *)(base + head->at_starts);
    vocabulary->ranks = (const void *)(base + head->at_ranks);
    vocabulary->texts = (const void *)(base + head->at_texts);
    vocabulary->pairs = (const void *)(base + head->at_pairs);
    vocabulary->merges = (const void *)(base + head->at_merges);
    vocabulary->specials = (const void *)(base + head->at_specials);
    vocabulary->lengths = (const void *)(base + head->at_lengths);
    vocabulary->others = (const void *)(base + head->at_others);
    vocabulary->bytes = (const void *)(base + head->at_bytes);
    return parts_are_sound(vocabulary) ? 0 : -1;
}

/* CRC-32 as zlib has it, four bits at a time. */
static uint32_t hash_bytes(const uint8_t *text, size_t bytes)
{
    static const uint32_t steps[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= text[i];
        crc = crc >> 4 ^ steps[crc & 15u];
        crc = crc >> 4 ^ steps[crc & 15u];
    }
    return ~crc;
}

/* The symbol with these bytes: the places of a table are tried from that of the hash on, up to an empty one. */
static int32_t find(const br_vocabulary *v, const uint32_t *table, uint32_t bits, const uint8_t *text, size_t bytes)
{
    const uint32_t mask = ((uint32_t)1 << bits) - 1;
    uint32_t place = hash_bytes(text, bytes) & mask;
    for (; table[place] != 0; place = (place + 1) & mask) {
        const uint32_t symbol = table[place] - 1, start = v->starts[symbol];
        if (v->starts[symbol + 1] - start == bytes && memcmp(v->pieces + start, text, bytes) == 0) {
            return (int32_t)symbol;
        }
    }
    return -1;
}

int32_t br_vocabulary_find(const br_vocabulary *v, const uint8_t *text, size_t bytes)
{
    return bytes > v->head->longest ? -1 : find(v, v->texts, v->head->text_bits, text, bytes);
}

int32_t br_vocabulary_special(const br_vocabulary *v, const uint8_t *text, size_t bytes)
{
    return find(v, v->specials, v->head->special_bits, text, bytes);
}

uint32_t br_vocabulary_pair(const br_vocabulary *v, uint32_t left, uint32_t right)
{
    const uint32_t mask = ((uint32_t)1 << v->head->pair_bits) - 1;
    const uint64_t hash = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    uint32_t place = (uint32_t)(hash >> 32) & mask;
    for (; v->pairs[place] != 0; place = (place + 1) & mask) {
        const uint32_t merge = v->pairs[place] - 1;
        if (v->merges[3 * merge] == left && v->merges[3 * merge + 1] == right) {
            return merge;
        }
    }
    return UINT32_MAX;
}

static uint8_t hex_digit(uint8_t letter)
{
    return (uint8_t)(letter <= '9' ? letter - '0' : (letter | 0x20) - 'a' + 10);
}

size_t br_token_text(const br_vocabulary *v, int32_t token, int special, char *text, size_t capacity)
{
    if (token < 0 || (uint32_t)token >= v->head->tokens) {
        return 0;
    }
    const uint8_t marks = v->marks[token], *piece = v->pieces + v->starts[token];
    const size_t length = v->starts[token + 1] - v->starts[token];
    const int hidden = BR_TOKEN_CONTROL | BR_TOKEN_UNKNOWN, plain = BR_TOKEN_USER | BR_TOKEN_NORMAL;
    const int shown = marks & hidden ? special : marks & plain;
    size_t count = 0;
    if (marks == BR_TOKEN_BYTE && length == 6) { /* <0xHH> */
        if (capacity > 0) {
            text[0] = (char)(hex_digit(piece[3]) << 4 | hex_digit(piece[4]));
        }
        return 1;
    }
    const int spaced = v->head->kind == 2 && !(marks & (hidden | BR_TOKEN_USER));
    for (size_t i = 0; shown && i < length; i++, count++) {
        const int space = spaced && length - i >= 3 && memcmp(piece + i, "\xE2\x96\x81", 3) == 0;
        if (count < capacity) {
            text[count] = space ? ' ' : (char)piece[i];
        }
        i += space ? 2 : 0;
    }
    return count;
}

int br_token_ends(const br_vocabulary *v, int32_t token)
{
    return token >= 0 && (uint32_t)token < v->head->tokens && (v->marks[token] & BR_TOKEN_ENDS) != 0;
}
