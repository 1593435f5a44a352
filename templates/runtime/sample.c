/* SPDX-License-Identifier: 0BSD */
#include "exact.h"
#include "sample.h"

#include <string.h>

/* e^x for x <= 0, held above 1e-38, as 2^(x log2 e): every operation is rounded by itself. */
static float exp_below(float x)
{
    const float twos = (x < -87.0f ? -87.0f : x) * 1.44269504f;
    const float whole = (twos + 12582912.0f) - 12582912.0f, rest = twos - whole;
    const uint32_t bits = (uint32_t)((int32_t)whole + 127) << 23;
    float y = 1.32647285e-3f, power;
    y = y * rest + 9.67151299e-3f;
    y = y * rest + 5.55073358e-2f;
    y = y * rest + 0.240222424f;
    y = y * rest + 0.693147004f;
    y = y * rest + 1.0f;
    memcpy(&power, &bits, sizeof power);
    return y * power;
}

/* A logit that can be reckoned with; what is no number is the least likely. */
static float held(float logit)
{
    const float most = 1e30f;
    return logit > most ? most : logit > -most ? logit : -most;
}

/* 24 random bits as a number in 0 .. 1 (splitmix64, Steele et al. 2014). */
static float drawn(br_sampler *sampler)
{
    uint64_t z = sampler->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (float)(uint32_t)((z ^ z >> 31) >> 40) * 0x1p-24f;
}

void br_sampler_start(br_sampler *sampler, const br_sample_settings *settings)
{
    memset(sampler, 0, sizeof *sampler);
    sampler->settings = *settings;
    sampler->state = settings->seed;
}

void br_sampler_note(br_sampler *sampler, int32_t token)
{
    sampler->recent[sampler->count++ % BR_RECENT] = token;
}

static void penalise(const br_sampler *sampler, br_candidate *all, size_t count)
{
    const float penalty = sampler->settings.repeat_penalty;
    const size_t known = sampler->count < BR_RECENT ? sampler->count : BR_RECENT;
    for (size_t i = 0; i < known; i++) {
        const int32_t token = sampler->recent[i];
        size_t before = 0;
        while (before < i && sampler->recent[before] != token) {
            before++;
        }
        if (before == i && token >= 0 && (size_t)token < count) { /* once, however often it was said */
            const float logit = all[token].logit;
            all[token].logit = logit > 0.0f ? logit / penalty : logit * penalty;
        }
    }
}

static int likelier(const br_candidate *a, const br_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

/* Restores the heap below place `at`: the likeliest on top. */
static void sink(br_candidate *heap, size_t count, size_t at)
{
    const br_candidate moved = heap[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        child += child + 1 < count && likelier(&heap[child + 1], &heap[child]);
        if (!likelier(&heap[child], &moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Takes the likeliest off the heap's top; it then lies behind the heap's new end. */
static void take(br_candidate *heap, size_t count)
{
    const br_candidate top = heap[0];
    heap[0] = heap[count - 1];
    sink(heap, count - 1, 0);
    heap[count - 1] = top;
}

/* Leaves only those that may be drawn, the likeliest last, at the end of `all`; how many they are. */
static size_t chosen(const br_sample_settings *s, br_candidate *all, size_t count)
{
    const int few = s->top_k > 0 && (size_t)s->top_k < count;
    const size_t most = few ? (size_t)s->top_k : count;
    float top, total = 0.0f, sum = 0.0f;
    size_t kept = 0;
    for (size_t i = count / 2; i-- > 0;) {
        sink(all, count, i);
    }
    top = all[0].logit;
    for (size_t i = 0; few && i < most; i++) {
        take(all, count - i);
    }
    for (size_t i = few ? count - most : 0; i < count; i++) {
        total += exp_below(all[i].logit - top);
    }
    while (kept < most) {
        float weight;
        if (!few) {
            take(all, count - kept);
        }
        weight = exp_below(all[count - 1 - kept].logit - top);
        if (kept > 0 && weight < s->min_p) {
            break;
        }
        sum += weight;
        kept++;
        if (s->top_p < 1.0f && sum >= s->top_p * total) {
            break;
        }
    }
    return kept;
}

/* One of them, by softmax of their logits over the temperature. */
static int32_t draw(br_sampler *sampler, br_candidate *among, size_t count)
{
    const float temperature = sampler->settings.temperature;
    float top = among[0].logit, total = 0.0f, place;
    for (size_t i = 1; i < count; i++) {
        top = among[i].logit > top ? among[i].logit : top;
    }
    for (size_t i = 0; i < count; i++) {
        among[i].weight = exp_below((among[i].logit - top) / temperature);
        total += among[i].weight;
    }
    place = drawn(sampler) * total;
    for (size_t i = count; i-- > 1;) {
        place -= among[i].weight;
        if (place < 0.0f) {
            return among[i].token;
        }
    }
    return among[0].token;
}

int32_t br_sample(br_sampler *sampler, const float *logits, size_t count, br_candidate *work)
{
    const br_sample_settings *s = &sampler->settings;
    size_t best = 0, kept = count;
    for (size_t i = 0; i < count; i++) {
        work[i].logit = held(logits[i]);
        work[i].token = (int32_t)i;
    }
    if (s->repeat_penalty != 1.0f) {
        penalise(sampler, work, count);
    }
    for (size_t i = 1; i < count; i++) {
        best = work[i].logit > work[best].logit ? i : best;
    }
    if (s->temperature <= 0.0f) {
        return work[best].token;
    }
    if ((s->top_k > 0 && (size_t)s->top_k < count) || s->top_p < 1.0f || s->min_p > 0.0f) {
        kept = chosen(s, work, count);
    }
    return draw(sampler, work + (count - kept), kept);
}
