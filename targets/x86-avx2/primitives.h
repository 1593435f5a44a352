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
#ifndef BR_VNNI
#define BR_VNNI __attribute__((target("avx2,f16c,avx512f,avx512bw,avx512vl,avx512vnni")))
#endif
#define BR_OWN static inline BR_AVX2 __attribute__((unused, always_inline))
#define BR_VNNI_OWN static inline BR_VNNI __attribute__((unused, always_inline))
#define BR_HERE(v) __asm__ volatile("" : "+x"(v)) /* computed here: gcc would put sums off, and keep what they add */

/* Sixteen bytes, widened to 16 bits. */
BR_OWN __m256i br_wide_16(const int8_t *from)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)from));
}

/* Eight bytes, widened to 32 bits. */
BR_OWN __m256i br_wide_8(const int8_t *from)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
}

/* Four bytes as one number. */
BR_OWN int32_t br_word(const void *from)
{
    int32_t four;
    memcpy(&four, from, 4);
    return four;
}

/* Four bytes, widened to 32 bits. */
BR_OWN __m128i br_wide_4(const int8_t *from)
{
    return _mm_cvtepi8_epi32(_mm_cvtsi32_si128(br_word(from)));
}

/* Four bytes, eight times. */
BR_OWN __m256i br_four(const void *from)
{
    return _mm256_set1_epi32(br_word(from));
}

/* Eight numbers of 16 bits as reals. */
BR_OWN __m256 br_halves(const void *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
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
