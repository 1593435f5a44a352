/* What the kernels for AVX-512 VNNI ask of the processor, by AVX2: for a machine that has none, their bits all the same.
 *
 * Comes before everything else. What is missing here does not compile. */
#include <immintrin.h>

#define TWIN __attribute__((target("avx2,f16c")))
#define TWIN_OWN static inline TWIN __attribute__((unused, always_inline))
#define BR_VNNI TWIN

typedef struct { __m256i half[2]; } twin_i;
typedef struct { __m256 half[2]; } twin_f;

/* Pairs of products of an unsigned and a signed byte, even ones and odd ones, added in 32 bits. */
TWIN_OWN __m256i twin_dpbusd(__m256i sum, __m256i a, __m256i b)
{
    const __m256i even = _mm256_and_si256(a, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(a, 8);
    const __m256i low = _mm256_madd_epi16(even, _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(low, _mm256_madd_epi16(odd, _mm256_srai_epi16(b, 8))));
}

TWIN_OWN __m256i twin_dpwssd(__m256i sum, __m256i a, __m256i b)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

#define TWIN_I(name, arguments, first, second) \
    TWIN_OWN twin_i twin_##name arguments      \
    {                                          \
        const twin_i y = {{first, second}};    \
        return y;                              \
    }
#define TWIN_F(name, arguments, first, second) \
    TWIN_OWN twin_f twin_##name arguments      \
    {                                          \
        const twin_f y = {{first, second}};    \
        return y;                              \
    }

TWIN_I(zero_i, (void), _mm256_setzero_si256(), _mm256_setzero_si256())
TWIN_I(set_32, (int v), _mm256_set1_epi32(v), _mm256_set1_epi32(v))
TWIN_I(set_8, (int v), _mm256_set1_epi8((char)v), _mm256_set1_epi8((char)v))
TWIN_I(pair, (__m256i a, __m256i b), a, b)
TWIN_I(load_i, (const void *p), _mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1))
TWIN_I(wide, (__m256i a), _mm256_cvtepi8_epi16(_mm256_castsi256_si128(a)),
       _mm256_cvtepi8_epi16(_mm256_extracti128_si256(a, 1)))
TWIN_I(and, (twin_i a, twin_i b), _mm256_and_si256(a.half[0], b.half[0]), _mm256_and_si256(a.half[1], b.half[1]))
TWIN_I(or, (twin_i a, twin_i b), _mm256_or_si256(a.half[0], b.half[0]), _mm256_or_si256(a.half[1], b.half[1]))
TWIN_I(xor, (twin_i a, twin_i b), _mm256_xor_si256(a.half[0], b.half[0]), _mm256_xor_si256(a.half[1], b.half[1]))
TWIN_I(right, (twin_i a, int n), _mm256_srli_epi16(a.half[0], n), _mm256_srli_epi16(a.half[1], n))
TWIN_I(add_i, (twin_i a, twin_i b), _mm256_add_epi32(a.half[0], b.half[0]), _mm256_add_epi32(a.half[1], b.half[1]))
TWIN_I(dot_8, (twin_i s, twin_i a, twin_i b), twin_dpbusd(s.half[0], a.half[0], b.half[0]),
       twin_dpbusd(s.half[1], a.half[1], b.half[1]))
TWIN_I(dot_16, (twin_i s, twin_i a, twin_i b), twin_dpwssd(s.half[0], a.half[0], b.half[0]),
       twin_dpwssd(s.half[1], a.half[1], b.half[1]))
TWIN_F(zero_f, (void), _mm256_setzero_ps(), _mm256_setzero_ps())
TWIN_F(set_f, (float v), _mm256_set1_ps(v), _mm256_set1_ps(v))
TWIN_F(load_f, (const float *p), _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8))
TWIN_F(pair_d, (__m256d a, __m256d b), _mm256_castpd_ps(a), _mm256_castpd_ps(b))
TWIN_F(halves, (__m256i a), _mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)))
TWIN_F(real, (twin_i a), _mm256_cvtepi32_ps(a.half[0]), _mm256_cvtepi32_ps(a.half[1]))
TWIN_F(add_f, (twin_f a, twin_f b), _mm256_add_ps(a.half[0], b.half[0]), _mm256_add_ps(a.half[1], b.half[1]))
TWIN_F(mul_f, (twin_f a, twin_f b), _mm256_mul_ps(a.half[0], b.half[0]), _mm256_mul_ps(a.half[1], b.half[1]))

TWIN_OWN void twin_store(float *p, twin_f a)
{
    _mm256_storeu_ps(p, a.half[0]);
    _mm256_storeu_ps(p + 8, a.half[1]);
}

#undef _mm256_dpbusd_epi32 /* the compiler's header may have some of these as macros */
#undef _mm512_inserti64x4
#undef _mm512_srli_epi16
#undef _mm512_extractf64x4_pd
#undef _mm512_insertf64x4
#define __m512i twin_i
#define __m512 twin_f
#define __m512d twin_f
#define _mm256_dpbusd_epi32 twin_dpbusd
#define _mm512_setzero_si512 twin_zero_i
#define _mm512_set1_epi32 twin_set_32
#define _mm512_set1_epi8 twin_set_8
#define _mm512_castsi256_si512(a) (a)
#define _mm512_inserti64x4(a, b, one) twin_pair(a, b)
#define _mm512_loadu_si512 twin_load_i
#define _mm512_cvtepi8_epi16 twin_wide
#define _mm512_loadu_ps twin_load_f
#define _mm512_storeu_ps twin_store
#define _mm512_and_si512 twin_and
#define _mm512_or_si512 twin_or
#define _mm512_xor_si512 twin_xor
#define _mm512_srli_epi16 twin_right
#define _mm512_add_epi32 twin_add_i
#define _mm512_dpbusd_epi32 twin_dot_8
#define _mm512_dpwssd_epi32 twin_dot_16
#define _mm512_setzero_ps twin_zero_f
#define _mm512_set1_ps twin_set_f
#define _mm512_cvtph_ps twin_halves
#define _mm512_cvtepi32_ps twin_real
#define _mm512_add_ps twin_add_f
#define _mm512_mul_ps twin_mul_f
#define _mm512_castps_pd(a) (a)
#define _mm512_castpd_ps(a) (a)
#define _mm512_castpd256_pd512(a) (a)
#define _mm512_insertf64x4(a, b, one) twin_pair_d(a, b)
#define _mm512_castpd512_pd256(a) _mm256_castps_pd((a).half[0])
#define _mm512_extractf64x4_pd(a, one) _mm256_castps_pd((a).half[1])
