/* What x86-64 with AVX2 is good at: sixteen products of int8, widened to 16 bits, in one instruction.
 *
 * Two products fit 32 bits whatever they are, so nothing saturates on the way (VPMADDWD, not VPMADDUBSW).
 */
#if !defined(__x86_64__)
#error "this C is for x86-64: for other machines build the brain with -t c99"
#endif
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What follows may stand in a program for any x86-64: only these functions use what not every one has. Never FMA. */
#define BR_AVX2 __attribute__((target("avx2,f16c")))
#define BR_OWN static inline BR_AVX2 __attribute__((unused, always_inline))

/* Sixteen bytes, widened to 16 bits. */
BR_OWN __m256i br_wide_16(const int8_t *from)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)from));
}

/* The sums of four vectors of eight. */
BR_OWN __m128i br_sums(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

#define BR_HAS_DOT_I8
/* See fixed.h. */
static inline BR_AVX2 __attribute__((unused)) int32_t br_dot_i8(const int8_t *x, const int8_t *w, int32_t n)
{
    __m256i sums = _mm256_setzero_si256();
    for (; n >= 16; n -= 16, x += 16, w += 16) {
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(br_wide_16(x), br_wide_16(w)));
    }
    int32_t sum = _mm_cvtsi128_si32(br_sums(sums, sums, sums, sums));
    for (; n > 0; n--) {
        sum += *x++ * *w++;
    }
    return sum;
}

/* Four rows of w, n apart, times one x; n is a multiple of 16. */
BR_OWN __m128i br_dot_4(const int8_t *x, const int8_t *w, int32_t n)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (int32_t i = 0; i < n; i += 16) {
        const __m256i many = br_wide_16(x + i);
        a = _mm256_add_epi32(a, _mm256_madd_epi16(many, br_wide_16(w + i)));
        b = _mm256_add_epi32(b, _mm256_madd_epi16(many, br_wide_16(w + n + i)));
        c = _mm256_add_epi32(c, _mm256_madd_epi16(many, br_wide_16(w + 2 * n + i)));
        d = _mm256_add_epi32(d, _mm256_madd_epi16(many, br_wide_16(w + 3 * n + i)));
    }
    return br_sums(a, b, c, d);
}

/* The rounding profiles of fixed.h. */
typedef enum br_round { br_once, br_tflite } br_round;

/* acc * mult / 2^shift, one number; held near int8. */
static __attribute__((noinline, unused)) int32_t br_scaled_1(int32_t acc, int32_t mult, int64_t shift, br_round round)
{
    int64_t v = (int64_t)acc * mult, left = shift;
    if (round == br_tflite) {
        acc = shift < 31 ? (int32_t)((uint32_t)acc << (31 - shift)) : acc;
        v = ((int64_t)acc * mult + ((int64_t)1 << 30)) >> 31;
        left = shift > 31 ? shift - 31 : 0;
        v -= left > 0 && v < 0;
    }
    v = left > 0 ? (v + ((int64_t)1 << (left - 1))) >> left : v;
    return v > 1024 ? 1024 : v < -1024 ? -1024 : (int32_t)v;
}

/* The same for four, when some shift is so small that a result may not fit 32 bits. */
static BR_AVX2 __attribute__((noinline, unused)) __m128i br_scaled_wide(__m128i acc, __m128i mult, __m256i shift, br_round round)
{
    int32_t a[4], m[4];
    int64_t s[4];
    _mm_storeu_si128((__m128i *)(void *)a, acc);
    _mm_storeu_si128((__m128i *)(void *)m, mult);
    _mm256_storeu_si256((__m256i *)(void *)s, shift);
    for (int i = 0; i < 4; i++) {
        a[i] = br_scaled_1(a[i], m[i], s[i], round);
    }
    return _mm_loadu_si128((const __m128i *)(const void *)a);
}

/* The low words of four numbers. */
BR_OWN __m128i br_low_4(__m256i wide)
{
    return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(wide, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6)));
}

/* Four numbers below 2^62 / 2^shift, rounded half up. There is no arithmetic shift of 64 bits: 2^62 is added before it,
 * which makes all of them positive, and taken off after it. */
BR_OWN __m128i br_rounded_4(__m256i v, __m256i shift)
{
    const __m256i one = _mm256_set1_epi64x(1), lift = _mm256_set1_epi64x((int64_t)1 << 62);
    const __m256i half = _mm256_sllv_epi64(one, _mm256_sub_epi64(shift, one)); /* none for a shift of 0 */
    const __m256i high = _mm256_add_epi64(v, _mm256_add_epi64(half, lift));
    return br_low_4(_mm256_sub_epi64(_mm256_srlv_epi64(high, shift), _mm256_srlv_epi64(lift, shift)));
}

/* Four times br_requant_once_i8 or br_requant_tflite_i8 of fixed.h, in 32-bit lanes; shift in 64-bit ones. */
BR_OWN __m128i br_requant_4(__m128i acc, __m128i mult, __m256i shift, br_round round, int32_t zero, int32_t lo, int32_t hi)
{
    const __m256i product = _mm256_mul_epi32(_mm256_cvtepi32_epi64(acc), _mm256_cvtepi32_epi64(mult));
    __m128i v;
    if (__builtin_expect(_mm256_movemask_epi8(_mm256_cmpgt_epi64(_mm256_set1_epi64x(32), shift)), 0)) {
        v = br_scaled_wide(acc, mult, shift, round);
    } else if (round == br_tflite) {
        const __m256i nudged = _mm256_add_epi64(product, _mm256_set1_epi64x(1 << 30));
        const __m256i high = _mm256_cvtepi32_epi64(br_low_4(_mm256_srli_epi64(nudged, 31)));
        const __m256i negative = _mm256_cmpgt_epi64(_mm256_setzero_si256(), high); /* half away from zero: one less */
        v = br_rounded_4(_mm256_add_epi64(high, negative), _mm256_sub_epi64(shift, _mm256_set1_epi64x(31)));
    } else {
        v = br_rounded_4(product, shift);
    }
    v = _mm_add_epi32(v, _mm_set1_epi32(zero));
    return _mm_min_epi32(_mm_max_epi32(v, _mm_set1_epi32(lo)), _mm_set1_epi32(hi));
}

/* Results n .. n + 3 of a layer to y: acc, without its bias, and the layer's constants. */
BR_OWN void br_put_4(__m128i acc, const int32_t *b, const int32_t *mult, const int8_t *shift, int32_t scales, int32_t n,
                     int8_t *y, br_round round, int32_t zero, int32_t lo, int32_t hi)
{
    int32_t four;
    memcpy(&four, scales > 1 ? shift + n : shift, scales > 1 ? 4 : 1);
    const __m256i s = scales > 1 ? _mm256_cvtepi8_epi64(_mm_cvtsi32_si128(four)) : _mm256_set1_epi64x(shift[0]);
    const __m128i m = scales > 1 ? _mm_loadu_si128((const __m128i *)(const void *)(mult + n)) : _mm_set1_epi32(mult[0]);
    acc = _mm_add_epi32(acc, _mm_loadu_si128((const __m128i *)(const void *)(b + n)));
    const __m128i v = br_requant_4(acc, m, s, round, zero, lo, hi);
    four = _mm_cvtsi128_si32(_mm_shuffle_epi8(v, _mm_set1_epi32(0x0c080400)));
    memcpy(y + n, &four, 4);
}

/* One result, as fixed.h has it (which comes after this file). */
BR_OWN int8_t br_put_1(int32_t acc, int32_t mult, int8_t shift, br_round round, int32_t zero, int32_t lo, int32_t hi)
{
    const int32_t v = br_scaled_1(acc, mult, shift, round) + zero;
    return (int8_t)(v < lo ? lo : v > hi ? hi : v);
}

/* One column x of n terms, a multiple of 16, times all rows of w [count,n]: y[0 .. count). */
BR_OWN void br_column_i8(const int8_t *x, const int8_t *w, const int32_t *b, const int32_t *mult, const int8_t *shift,
                         int8_t *y, int32_t n, int32_t count, int32_t scales, br_round round, int32_t zero, int32_t lo,
                         int32_t hi)
{
    int32_t row = 0;
    for (; row + 4 <= count; row += 4, w += 4 * n) {
        br_put_4(br_dot_4(x, w, n), b, mult, shift, scales, row, y, round, zero, lo, hi);
    }
    for (; row < count; row++, w += n) {
        const int32_t s = scales > 1 ? row : 0;
        y[row] = br_put_1(b[row] + br_dot_i8(x, w, n), mult[s], shift[s], round, zero, lo, hi);
    }
}

/* Eight bytes, and four, widened to 32 bits. */
BR_OWN __m256i br_wide_8(const int8_t *from)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
}

BR_OWN __m128i br_wide_4(const int8_t *from)
{
    int32_t four;
    memcpy(&four, from, 4);
    return _mm_cvtepi8_epi32(_mm_cvtsi32_si128(four));
}

/* --- Language models ------------------------------ */

#ifndef BR_VNNI
#define BR_VNNI __attribute__((target("avx2,f16c,avx512f,avx512bw,avx512vl,avx512vnni")))
#endif
#define BR_VNNI_OWN static inline __attribute__((always_inline, unused)) BR_VNNI
#define BR_AHEAD 1024 /* bytes: how far before it is read a tile is asked for, where each is read once */
#define BR_HERE(v) __asm__ volatile("" : "+x"(v)) /* computed here: gcc would put sums off, and keep what they add */

/* The blocks that weights come in, see packs/tiles.py. */
typedef enum br_blocks { br_of_w4, br_of_w4m, br_of_w5, br_of_w5m, br_of_w8, br_of_w16 } br_blocks;

BR_OWN int br_has_offsets(br_blocks kind)
{
    return kind == br_of_w4m || kind == br_of_w5m;
}

/* Whether the low four bits of two numbers share a byte, and whether there is a fifth. */
BR_OWN int br_has_nibbles(br_blocks kind)
{
    return kind != br_of_w8 && kind != br_of_w16;
}

BR_OWN int br_has_fifths(br_blocks kind)
{
    return kind == br_of_w5 || kind == br_of_w5m;
}

/* What is added to the numbers of a tile to have those that they stand for. */
BR_OWN int br_less(br_blocks kind)
{
    return kind == br_of_w4 ? -8 : kind == br_of_w5 ? -16 : 0;
}

/* Bytes of what comes before a tile's numbers, and of the tiles of eight rows and 32 columns (two of w16). */
BR_OWN int br_tile_head(br_blocks kind)
{
    return br_has_offsets(kind) ? 32 : 16;
}

BR_OWN int br_tile_bytes(br_blocks kind)
{
    const int numbers = br_has_fifths(kind) ? 160 : br_has_nibbles(kind) ? 128 : 256;
    return kind == br_of_w16 ? 288 : br_tile_head(kind) + numbers;
}

/* Where vector v of 0 .. 7 lies in a tile: four numbers of each row; nibbles: vectors v and v + 4 in one. */
BR_OWN int br_tile_vector(br_blocks kind, int v)
{
    return br_tile_head(kind) + 32 * (br_has_nibbles(kind) ? v % 4 : v) + (kind == br_of_w16 && v > 3 ? 16 : 0);
}

/* Where a tile's second reals are: its offsets, or the scales of its upper half. */
BR_OWN int br_tile_more(br_blocks kind)
{
    return kind == br_of_w16 ? 144 : 16;
}

/* Eight rows of a result: r + (sums + b), b and r where there are some; of the last rows only those left. */
BR_OWN void br_put_8(__m256 sums, const float *b, const float *r, float *y, int32_t left)
{
    float last[8];
    if (left >= 8) {
        sums = b ? _mm256_add_ps(sums, _mm256_loadu_ps(b)) : sums;
        _mm256_storeu_ps(y, r ? _mm256_add_ps(_mm256_loadu_ps(r), sums) : sums);
        return;
    }
    _mm256_storeu_ps(last, sums);
    for (int32_t i = 0; i < left; i++) {
        const float sum = b ? last[i] + b[i] : last[i];
        y[i] = r ? r[i] + sum : sum;
    }
}
