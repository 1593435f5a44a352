/* Real numbers with the same bits on every machine, and the blocks that weights and activations come in: the C twin of
 * lanes.py and of the records in dtypes.py; only in brains that have some. Every operation is rounded by itself,
 * which runtime/exact.h sees to. */
#include <math.h>

typedef struct { uint16_t d; uint8_t q[16]; } br_w4_t;
typedef struct { uint16_t d, m; uint8_t q[16]; } br_w4m_t;
typedef struct { uint16_t d; uint8_t h[4], q[16]; } br_w5_t;
typedef struct { uint16_t d, m; uint8_t h[4], q[16]; } br_w5m_t;
typedef struct { uint16_t d; int8_t q[32]; } br_w8_t;
typedef struct { uint16_t d, m; int8_t s[8], o[8]; uint8_t q[8][16]; } br_w4k_t;
typedef struct { uint16_t d, m; int8_t s[8], o[8]; uint8_t h[8][4], q[8][16]; } br_w5k_t;
typedef struct { uint16_t d; int8_t s[8][2]; uint8_t h[8][8], q[8][16]; } br_w6k_t;
typedef struct { float d, s; int16_t n[2]; int8_t q[32]; } br_a8_t;
typedef struct { uint16_t bits; } br_bf16_t;
typedef struct { uint16_t d[16]; int8_t q[16][16][2]; } br_k8_t;
typedef struct { uint16_t d[16]; int8_t q[8][32][2]; } br_v8_t;
typedef struct { uint16_t d[16]; int16_t q[16][16][2]; } br_k16_t;
typedef struct { uint16_t d[16]; int16_t q[8][32][2]; } br_v16_t;

#define BR_LANES 16
#define BR_ROWS 16 /* of a unit of a cache */

/* A real by its bits, and the other way round. */
BR_INLINE float br_real_of(uint32_t bits)
{
    float real;
    memcpy(&real, &bits, sizeof real);
    return real;
}

BR_INLINE uint32_t br_bits_of(float real)
{
    uint32_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits;
}

/* A number of 16 bits (IEEE binary16) as a real. Small ones: 2^-24 apart, so an integer times that. */
BR_INLINE float br_from_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7FFFu;
    if (rest < 0x0400u) {
        return br_real_of(sign | br_bits_of((float)rest * 5.9604644775390625e-8f));
    }
    return br_real_of(sign | (rest < 0x7C00u ? (rest << 13) + 0x38000000u : (rest << 13) | 0x7F800000u));
}

/* The other way, half to even; what is beyond the largest one becomes that, and so does what is no number. */
BR_INLINE uint16_t br_to_f16(float real)
{
    const float low = real < 65504.0f ? real : 65504.0f, held = low > -65504.0f ? low : -65504.0f;
    const uint32_t bits = br_bits_of(held), sign = bits >> 16 & 0x8000u, rest = bits & 0x7FFFFFFFu;
    if (rest < 0x38800000u) { /* adding 0.5 leaves steps of 2^-24, and rounds to them */
        return (uint16_t)(sign | (br_bits_of(br_real_of(rest) + 0.5f) - 0x3F000000u));
    }
    return (uint16_t)(sign | (rest - 0x38000000u + 0x0FFFu + (rest >> 13 & 1u)) >> 13);
}

/* The sum of 16 lanes as a tree. */
BR_INLINE float br_lane_tree(const float lanes[BR_LANES])
{
    float sums[BR_LANES];
    memcpy(sums, lanes, sizeof sums);
    for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            sums[i] += sums[i + half];
        }
    }
    return sums[0];
}

/* The sum of x[i] * y[i], i < n: lane i % 16 adds them in order. */
BR_INLINE float br_lane_dot(const float *x, const float *y, int32_t n)
{
    float lanes[BR_LANES] = {0};
    for (int32_t i = 0; i < n; i++) {
        lanes[i % BR_LANES] += x[i] * y[i];
    }
    return br_lane_tree(lanes);
}

/* x to the nearest whole number, half to even; |x| <= 2^22. */
BR_INLINE float br_lane_rint(float x)
{
    return (x + 12582912.0f) - 12582912.0f;
}

/* e^x as 2^(x log2 e), wrong by (4 + 1.2|x|) 2^-24 of it at most; x is held in -87 .. 88. */
BR_INLINE float br_lane_exp(float x)
{
    const float twos = (x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x) * 1.44269504f;
    const float whole = br_lane_rint(twos), rest = twos - whole;
    float y = 1.32647285e-3f;
    y = y * rest + 9.67151299e-3f;
    y = y * rest + 5.55073358e-2f;
    y = y * rest + 0.240222424f;
    y = y * rest + 0.693147004f;
    y = y * rest + 1.0f;
    return y * br_real_of((uint32_t)((int32_t)whole + 127) << 23);
}

BR_INLINE float br_lane_silu(float x)
{
    return x / (1.0f + br_lane_exp(-x));
}

BR_INLINE float br_lane_gelu(float x)
{
    return x / (1.0f + br_lane_exp((-1.5957691216f * x) * (1.0f + 0.044715f * (x * x))));
}

/* s [n] becomes exp(s - max s): 1 / their sum. */
BR_INLINE float br_lane_soft(float *s, int32_t n)
{
    float most = s[0], lanes[BR_LANES] = {0};
    for (int32_t i = 1; i < n; i++) {
        most = s[i] > most ? s[i] : most;
    }
    for (int32_t i = 0; i < n; i++) {
        s[i] = br_lane_exp(s[i] - most);
        lanes[i % BR_LANES] += s[i];
    }
    return 1.0f / br_lane_tree(lanes);
}

/* n reals as whole numbers, the largest `top`, to the nearest, half to even: what one stands for. All below 1e-30:
 * zeros. Whatever x is, they fit. */
BR_INLINE float br_lane_whole(const float *x, int32_t n, float top, int16_t *y)
{
    float most = 0.0f;
    for (int32_t i = 0; i < n; i++) {
        const float size = x[i] < 0.0f ? -x[i] : x[i];
        most = size > most ? size : most;
    }
    most = most < 1e-30f ? 0.0f : most;
    const float up = most > 0.0f ? top / most : 0.0f;
    for (int32_t i = 0; i < n; i++) {
        const float v = br_lane_rint(x[i] * up);
        y[i] = (int16_t)(v > -top ? v < top ? v : top : -top);
    }
    return most / top;
}

/* 32 reals as a block of 8 bits. */
BR_INLINE void br_quantise(const float *x, br_a8_t *y)
{
    int16_t q[32];
    y->d = br_lane_whole(x, 32, 127.0f, q);
    y->n[0] = y->n[1] = 0;
    for (int i = 0; i < 32; i++) {
        y->q[i] = (int8_t)q[i];
        y->n[i / 16] = (int16_t)(y->n[i / 16] + q[i]);
    }
    y->s = y->d * (float)(y->n[0] + y->n[1]);
}

/* 32 reals, held at +-65504, as whole numbers in -8192 .. 8192 of a power of two: that. */
BR_INLINE float br_lane_whole_16(const float *x, int16_t *y)
{
    float held[32], most = 0.0f;
    for (int i = 0; i < 32; i++) {
        const float low = x[i] < 65504.0f ? x[i] : 65504.0f;
        held[i] = low > -65504.0f ? low : -65504.0f;
        most = held[i] > most ? held[i] : -held[i] > most ? -held[i] : most;
    }
    const float least = 5.9604644775390625e-8f, power = br_real_of(br_bits_of(most) & 0x7F800000u) * 2.44140625e-4f;
    const float d = power > least ? power : least;
    for (int i = 0; i < 32; i++) {
        y[i] = (int16_t)br_lane_rint(held[i] * (1.0f / d));
    }
    return d;
}

/* --- Tiles of eight rows of weights, as brainc/packs/tiles.py lays them --- */

typedef enum {
    br_plain_w4, br_plain_w4m, br_plain_w5, br_plain_w5m, br_plain_w8, br_plain_w4k, br_plain_w5k, br_plain_w6k
} br_plain_kind;

BR_INLINE int32_t br_plain_has_offsets(br_plain_kind kind)
{
    return kind == br_plain_w4m || kind == br_plain_w5m || kind == br_plain_w4k || kind == br_plain_w5k;
}

BR_INLINE int32_t br_plain_has_fifths(br_plain_kind kind)
{
    return kind == br_plain_w5 || kind == br_plain_w5m || kind == br_plain_w5k;
}

/* Whether eight tiles share d and m, of which each has multiples. */
BR_INLINE int32_t br_plain_has_steps(br_plain_kind kind)
{
    return kind >= br_plain_w4k;
}

/* Bytes of d and m, of a tile before its numbers, of a tile. */
BR_INLINE int32_t br_plain_reals_of(br_plain_kind kind)
{
    return br_plain_has_offsets(kind) ? 32 : 16;
}

BR_INLINE int32_t br_plain_head(br_plain_kind kind)
{
    return br_plain_has_steps(kind) ? 16 : br_plain_reals_of(kind);
}

BR_INLINE int32_t br_plain_bytes(br_plain_kind kind)
{
    const int32_t more = kind == br_plain_w8 ? 128 : kind == br_plain_w6k ? 64 : br_plain_has_fifths(kind) ? 32 : 0;
    return br_plain_head(kind) + 128 + more;
}

/* Where tile `i` of a row of tiles begins; tile B would be behind the row. */
BR_INLINE size_t br_plain_place(br_plain_kind kind, int32_t i)
{
    const size_t tiles = (size_t)i * (size_t)br_plain_bytes(kind);
    return br_plain_has_steps(kind) ? tiles + (size_t)(i / 8 * br_plain_reals_of(kind)) : tiles;
}

/* A tile: where d and m are, and what comes behind these. */
typedef struct {
    const uint8_t *reals, *own;
} br_plain_tile;

/* Tile `i` of the row of tiles at w. */
BR_INLINE br_plain_tile br_plain_at(br_plain_kind kind, const uint8_t *w, int32_t i)
{
    const uint8_t *const reals = w + br_plain_place(kind, br_plain_has_steps(kind) ? i / 8 * 8 : i);
    const size_t own = br_plain_has_steps(kind) ? (size_t)(br_plain_reals_of(kind) + i % 8 * br_plain_bytes(kind)) : 0;
    const br_plain_tile tile = {reals, reals + own};
    return tile;
}

/* Scale (or, 8 further on, offset, or scale of the upper half) number `i` of a tile. */
BR_INLINE float br_plain_scale(br_plain_kind kind, br_plain_tile tile, int32_t i)
{
    const uint8_t *const at = tile.reals + 2 * (kind == br_plain_w6k ? i % 8 : i);
    const float real = br_from_f16((uint16_t)(at[0] | at[1] << 8));
    return br_plain_has_steps(kind) ? real * (float)(int8_t)tile.own[i] : real;
}

/* The number of a tile that is row r's at place k: i = 4 * r + k % 4 and v = k / 4. What it has too much is off. */
BR_INLINE int16_t br_plain_number(br_plain_kind kind, br_plain_tile tile, int32_t v, int32_t i)
{
    const uint8_t *const q = tile.own + br_plain_head(kind);
    if (kind == br_plain_w8) {
        return (int8_t)q[32 * v + i];
    }
    const int32_t low = v < 4 ? q[32 * v + i] & 15 : q[32 * (v - 4) + i] >> 4;
    if (kind == br_plain_w6k) {
        return (int16_t)(low + 16 * (q[128 + 32 * (v / 4) + i] >> 2 * (v % 4) & 3) - 32);
    }
    const int32_t fifth = br_plain_has_fifths(kind) ? q[128 + i] >> v & 1 : 0;
    return (int16_t)(low + 16 * fifth - (kind == br_plain_w4 ? 8 : kind == br_plain_w5 ? 16 : 0));
}

BR_INLINE int32_t br_plain_four(const int32_t *x)
{
    return x[0] + x[1] + x[2] + x[3];
}

/* A tile times a block of x: added to the sums of the eight rows. Products lie beside each other as the numbers do,
 * four of each row, so that a compiler takes many at once. */
BR_INLINE void br_plain_add(br_plain_kind kind, br_plain_tile tile, const br_a8_t *x, float sums[8])
{
    int32_t products[2][32] = {{0}}; /* of the block's halves */
    for (int32_t v = 0; v < 8; v++) {
        int8_t four[32];
        for (int32_t r = 0; r < 8; r++) {
            memcpy(four + 4 * r, x->q + 4 * v, 4);
        }
        for (int32_t i = 0; i < 32; i++) {
            products[v / 4][i] += br_plain_number(kind, tile, v, i) * (int16_t)four[i];
        }
    }
    for (int32_t r = 0; r < 8; r++) {
        const int32_t low = br_plain_four(products[0] + 4 * r), high = br_plain_four(products[1] + 4 * r);
        const float scale = br_plain_scale(kind, tile, r) * x->d;
        sums[r] += scale * (float)(kind == br_plain_w6k ? low : low + high);
        if (kind == br_plain_w6k) {
            sums[r] += (br_plain_scale(kind, tile, 8 + r) * x->d) * (float)high;
        } else if (br_plain_has_offsets(kind)) {
            sums[r] += br_plain_scale(kind, tile, 8 + r) * x->s;
        }
    }
}

/* x [rows,B] times w [N,B], plus b [N] and r [rows,N] where they are given -> y [rows,N]; eight rows of w are a
 * share. */
BR_INLINE void br_plain_dense(br_plain_kind kind, const br_a8_t *x, const uint8_t *w, const float *b, const float *r,
                              float *y, int32_t rows, int32_t N, int32_t B, int32_t first, int32_t end)
{
    for (int32_t share = first; share < end; share++) {
        const uint8_t *const tiles = w + (size_t)share * br_plain_place(kind, B);
        for (int32_t m = 0; m < rows; m++) {
            const br_a8_t *const blocks = x + (size_t)m * (size_t)B;
            float sums[8] = {0};
            for (int32_t i = 0; i < B; i++) {
                br_plain_add(kind, br_plain_at(kind, tiles, i), blocks + i, sums);
            }
            for (int32_t i = 0; i < 8 && 8 * share + i < N; i++) {
                const size_t at = (size_t)m * (size_t)N + (size_t)(8 * share + i);
                const float sum = b == NULL ? sums[i] : sums[i] + b[8 * share + i];
                y[at] = r == NULL ? sum : r[at] + sum;
            }
        }
    }
}

/* Row `row` of the tiles at w, B of them to a row, as reals. */
BR_INLINE void br_plain_reals(br_plain_kind kind, const uint8_t *w, int32_t row, int32_t B, float scale, float *y)
{
    const int32_t r = row % 8;
    const uint8_t *const tiles = w + (size_t)(row / 8) * br_plain_place(kind, B);
    for (int32_t i = 0; i < B; i++, y += 32) {
        const br_plain_tile tile = br_plain_at(kind, tiles, i);
        const float low = br_plain_scale(kind, tile, r);
        for (int32_t k = 0; k < 32; k++) {
            const float d = kind == br_plain_w6k && k > 15 ? br_plain_scale(kind, tile, 8 + r) : low;
            const float real = d * (float)br_plain_number(kind, tile, k / 4, 4 * r + k % 4);
            y[k] = scale * (br_plain_has_offsets(kind) ? real + br_plain_scale(kind, tile, 8 + r) : real);
        }
    }
}
