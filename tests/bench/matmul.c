/* The harness of matmul.py: times what products.h lists, which are kernels as brainc renders them.
 *
 * Times are the thread's own, the best of several: a neighbour takes turns, and is not counted. */
#define _GNU_SOURCE
#include "products.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { MEGABYTES = 96, TOKENS = 64, WIDEST = 1536, LAYERS = 30, VOCABULARY = 49152 };
static const int SHAPES[7][2] = {{576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}};

static uint8_t *weights, *scratch;
static br_a8_t *x;
static float *y;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Memory in large pages. */
static void *room(size_t bytes)
{
    const size_t page = (size_t)2 << 20;
    void *found = aligned_alloc(page, (bytes + page - 1) / page * page);
    if (!found) {
        abort();
    }
    madvise(found, bytes, MADV_HUGEPAGE);
    memset(found, 0, bytes);
    return found;
}

/* Tiles that hold so many columns: as many as share scales, or a multiple of that. */
static int tiles_of(const product *p, int columns)
{
    return (columns / 32 + p->shared - 1) / p->shared * p->shared;
}

static size_t bytes_of(const product *p, int rows, int columns)
{
    return (size_t)rows / 8 * (size_t)tiles_of(p, columns) * p->tile;
}

/* A token's products on SmolLM2-135M's shapes: its body in blocks as p has them and, with a head, the w8 head. */
static void token(const product *p, const product *head, int rows)
{
    const uint8_t *w = weights;
    for (int i = 0; i < 7 * LAYERS; i++) {
        const int *s = SHAPES[i % 7];
        w = (size_t)(w - weights) + bytes_of(p, s[0], s[1]) > (size_t)MEGABYTES << 20 ? weights : w;
        (rows > 1 ? p->many : p->one)(x, w, y, s[0], tiles_of(p, s[1]), scratch);
        w += bytes_of(p, s[0], s[1]);
    }
    if (head) {
        head->one(x, weights + ((size_t)MEGABYTES << 20) - bytes_of(head, VOCABULARY, 576), y, VOCABULARY, 18, scratch);
    }
}

static uint64_t sum;
static BR_AVX2 void read_all(void)
{
    __m256i all[4] = {{0}};
    for (size_t i = 0; i < (size_t)MEGABYTES << 20; i += 128) {
        for (size_t k = 0; k < 4; k++) {
            all[k] = _mm256_xor_si256(all[k], _mm256_load_si256((const __m256i *)(const void *)(weights + i + 32 * k)));
        }
    }
    sum += (uint64_t)_mm256_extract_epi64(_mm256_xor_si256(_mm256_xor_si256(all[0], all[1]), _mm256_xor_si256(all[2], all[3])), 0);
}

static void copy_half(void)
{
    memcpy(weights, weights + ((size_t)MEGABYTES << 19), (size_t)MEGABYTES << 19);
    sum += weights[7];
}

#define BEST(seconds, statement)                                                    \
    do {                                                                            \
        const double start_ = now();                                                \
        best = 1e9;                                                                 \
        for (double at_ = start_, then_; at_ < start_ + seconds; at_ = then_) {     \
            statement;                                                              \
            then_ = now();                                                          \
            best = then_ - at_ < best ? then_ - at_ : best;                         \
        }                                                                           \
    } while (0)

int main(int count, char **words)
{
    const double seconds = count > 1 ? atof(words[1]) : 0.5;
    const product *const end = products + sizeof products / sizeof *products;
    double best;
    weights = room((size_t)MEGABYTES << 20);
    scratch = room((size_t)4 << 20);
    x = room(TOKENS * WIDEST / 32 * sizeof *x);
    y = room(sizeof(float) * (TOKENS * WIDEST + 4 * (size_t)VOCABULARY));
    for (int i = 0; i < TOKENS * WIDEST / 32; i++) {
        x[i] = activations[i % 64];
    }
    BEST(seconds, copy_half());
    printf("memory, %d MB: copied %.1f GB/s (read and written)", MEGABYTES, (double)(MEGABYTES << 20) / best / 1e9);
    BEST(seconds, read_all());
    printf(", read %.1f GB/s\n", (double)((size_t)MEGABYTES << 20) / best / 1e9);
    printf("%-9s %-5s %12s %12s %14s %15s\n", "accent", "type", "M = 1 GB/s", "M=64 GMAC/s", "decode tok/s", "prefill tok/s");
    for (const product *p = products; p < end; p++) {
        const product *head = NULL;
        for (const product *q = products; q < end; q++) {
            head = strcmp(q->accent, p->accent) == 0 && strcmp(q->type, "w8") == 0 ? q : head;
        }
        if (p->there && !p->there()) {
            printf("%-9s %-5s %12s\n", p->accent, p->type, "not here");
            continue;
        }
        for (size_t i = 0; i < (size_t)MEGABYTES << 20; i++) {
            weights[i] = p->sample[i % p->bytes];
        }
        const int rows = (int)(((size_t)MEGABYTES << 20) / ((size_t)tiles_of(p, 576) * p->tile)) * 8 / 16 * 16;
        br_len wide = rows < 4 * VOCABULARY ? rows : 4 * VOCABULARY;
        BEST(seconds, p->one(x, weights, y, wide, tiles_of(p, 576), scratch));
        printf("%-9s %-5s %12.1f", p->accent, p->type, (double)bytes_of(p, wide, 576) / best / 1e9);
        BEST(seconds, p->many(x, weights, y, WIDEST, tiles_of(p, 576), scratch));
        printf(" %12.1f", (double)TOKENS * WIDEST * 32 * tiles_of(p, 576) / best / 1e9);
        BEST(seconds, token(p, head, 1));
        printf(" %14.0f", 1 / best);
        BEST(seconds, token(p, NULL, TOKENS));
        printf(" %15.0f\n", TOKENS / best);
        fflush(stdout);
    }
    return sum == 1;
}
