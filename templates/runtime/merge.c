/* SPDX-License-Identifier: 0BSD
 * Merging: n log n steps for n bytes. Both kinds of vocabulary go this way; they differ in who may merge. */
#include "merge.h"

#define NO_RANK UINT32_MAX

static uint32_t leaves_for(size_t bytes)
{
    uint32_t leaves = 1;
    while (leaves < bytes) {
        leaves *= 2;
    }
    return leaves;
}

size_t br_merge_work(size_t bytes)
{
    return (3 * bytes + 2 * (size_t)leaves_for(bytes)) * sizeof(uint32_t);
}

/* The rank of a part and the one behind it. */
static uint32_t rank_at(const br_merging *m, uint32_t part)
{
    const br_vocabulary *v = m->vocabulary;
    const uint32_t next = m->behind[part];
    if (next >= m->bytes) {
        return NO_RANK;
    }
    if (v->head->kind == 1) {
        return br_vocabulary_pair(v, m->symbols[part], m->symbols[next]);
    }
    const int32_t token = br_vocabulary_find(v, m->text + part, m->behind[next] - part);
    return token < 0 ? NO_RANK : v->ranks[token];
}

static uint32_t lower_of(const uint32_t *ranks, uint32_t place)
{
    return ranks[2 * place] < ranks[2 * place + 1] ? ranks[2 * place] : ranks[2 * place + 1];
}

static void set_rank(br_merging *m, uint32_t part, uint32_t rank)
{
    uint32_t place = m->leaves + part;
    m->ranks[place] = rank;
    for (place /= 2; place > 0; place /= 2) {
        const uint32_t low = lower_of(m->ranks, place);
        if (m->ranks[place] == low) {
            break;
        }
        m->ranks[place] = low;
    }
}

/* The leftmost part of the lowest rank. */
static uint32_t first_part(const br_merging *m)
{
    uint32_t place = 1;
    while (place < m->leaves) {
        place = 2 * place + (m->ranks[2 * place] != m->ranks[place]);
    }
    return place - m->leaves;
}

static void cut(br_merging *m)
{
    static const uint8_t lengths[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4}; /* by a byte's upper half */
    uint32_t last = 0;
    for (uint32_t part = 0; part < m->bytes; part = m->behind[part]) {
        const uint32_t length = m->vocabulary->head->kind == 1 ? 1 : lengths[m->text[part] >> 4];
        m->symbols[part] = (uint32_t)m->vocabulary->bytes[m->text[part]];
        m->before[part] = last;
        m->behind[part] = length < m->bytes - part ? part + length : m->bytes;
        last = part;
    }
    for (uint32_t leaf = 0; leaf < m->leaves; leaf++) {
        m->ranks[m->leaves + leaf] = NO_RANK;
    }
    for (uint32_t part = 0; part < m->bytes; part = m->behind[part]) {
        m->ranks[m->leaves + part] = rank_at(m, part);
    }
    for (uint32_t place = m->leaves - 1; place > 0; place--) {
        m->ranks[place] = lower_of(m->ranks, place);
    }
}

void br_merge(br_merging *m, const br_vocabulary *vocabulary, const uint8_t *text, size_t bytes, void *work)
{
    m->vocabulary = vocabulary;
    m->text = text;
    m->bytes = (uint32_t)bytes;
    m->leaves = leaves_for(bytes);
    m->before = work;
    m->behind = m->before + bytes;
    m->symbols = m->behind + bytes;
    m->ranks = m->symbols + bytes;
    cut(m);
    while (m->ranks[1] != NO_RANK) {
        const uint32_t rank = m->ranks[1], part = first_part(m), gone = m->behind[part], next = m->behind[gone];
        m->behind[part] = next;
        if (next < m->bytes) {
            m->before[next] = part;
        }
        if (vocabulary->head->kind == 1) {
            m->symbols[part] = vocabulary->merges[3 * rank + 2];
        }
        set_rank(m, gone, NO_RANK);
        set_rank(m, part, rank_at(m, part));
        if (part > 0) {
            set_rank(m, m->before[part], rank_at(m, m->before[part]));
        }
    }
}
