/* What real numbers need; only in brains that have some. The functions of one variable reach the C library
 * through the names BR_EXPF, BR_LOGF …, which a port may define as something smaller. */
#include <math.h>

#ifndef BR_EXPF
#define BR_EXPF(x) expf(x)
#endif
#ifndef BR_LOGF
#define BR_LOGF(x) logf(x)
#endif
#ifndef BR_SQRTF
#define BR_SQRTF(x) sqrtf(x)
#endif
#ifndef BR_SINF
#define BR_SINF(x) sinf(x)
#endif
#ifndef BR_COSF
#define BR_COSF(x) cosf(x)
#endif
#ifndef BR_TANHF
#define BR_TANHF(x) tanhf(x)
#endif
#ifndef BR_POWF
#define BR_POWF(x, y) powf(x, y)
#endif
#ifndef BR_FLOORF
#define BR_FLOORF(x) floorf(x)
#endif
#ifndef BR_CEILF
#define BR_CEILF(x) ceilf(x)
#endif

#define BR_INF INFINITY
#define BR_NAN NAN

BR_INLINE float br_clamp_f32(float v, float lo, float hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* v rounded to the nearest whole number, ties to even; |v| <= 2^22. Adding 1.5 * 2^23 leaves no bit for a fraction,
 * so the addition itself rounds, and the whole number stands in the low bits. */
BR_INLINE int32_t br_round_f32(float v)
{
    const float shifted = v + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4B400000L;
}

/* A real to an integer: round_half_even(x * inverse) + zero, held in lo..hi; NaN gives zero. |lo|, |hi| <= 2^16. */
BR_INLINE int32_t br_to_int(float x, float inverse, int32_t zero, int32_t lo, int32_t hi)
{
    const float v = br_clamp_f32(x * inverse, (float)(lo - zero), (float)(hi - zero));
    const int32_t whole = br_round_f32(v) + zero; /* out of range: v is not a number */
    return whole < lo || whole > hi ? zero : whole;
}

/* The same, dividing by scale and rounding half away from zero, as TFLite does. */
BR_INLINE int32_t br_to_int_tflite(float x, float scale, int32_t zero, int32_t lo, int32_t hi)
{
    const float v = br_clamp_f32(x / scale, (float)(lo - zero), (float)(hi - zero));
    int32_t whole;
    if (!(v >= -131072.0f && v <= 131072.0f)) { /* not a number */
        return zero;
    }
    whole = (int32_t)v;
    whole += (v - (float)whole >= 0.5f) - (v - (float)whole <= -0.5f);
    return br_clamp_i32(whole + zero, lo, hi);
}

/* An integer to a real: (q - zero) * scale. */
BR_INLINE float br_from_int(int32_t q, float scale, int32_t zero)
{
    return (float)(q - zero) * scale;
}

/* Sum of x[i] * w[i], i < n, in ascending order; w is a constant. */
#ifndef BR_HAS_DOT_F32
BR_INLINE float br_dot_f32(const float *x, BR_CP(float) w, br_len n)
{
    float sum = 0.0f;
    for (br_len i = 0; i < n; i++) {
        sum += x[i] * BR_LD_F32(w, i);
    }
    return sum;
}
#endif

/* --- Functions of one variable that small C libraries lack, or lose digits in --- */

/* exp(x) - 1 */
BR_INLINE float br_expm1_f32(float x)
{
    if (x > -0.1f && x < 0.1f) {
        return x * (1.0f + x * (0.5f + x * (1.0f / 6 + x * (1.0f / 24 + x * (1.0f / 120)))));
    }
    return BR_EXPF(x) - 1.0f;
}

/* log(1 + x) for 0 <= x <= 1: dividing by the rounded u - 1 takes the rounding of u back out (Kahan). */
BR_INLINE float br_log1p_f32(float x)
{
    const float u = 1.0f + x;
    return u == 1.0f ? x : BR_LOGF(u) * x / (u - 1.0f);
}

BR_INLINE float br_sigmoid_f32(float x)
{
    return 1.0f / (1.0f + BR_EXPF(-x));
}

/* log(1 + exp(x)) */
BR_INLINE float br_softplus_f32(float x)
{
    return x > 0.0f ? x + br_log1p_f32(BR_EXPF(-x)) : br_log1p_f32(BR_EXPF(x));
}

/* The error function: its series near 0, else formula 7.1.26 of Abramowitz and Stegun (error below 2e-7). */
BR_INLINE float br_erf_f32(float x)
{
    const float a = x < 0.0f ? -x : x, s = x * x;
    if (a < 0.5f) {
        return x * 1.12837917f * (1.0f - s * (1.0f / 3 - s * (0.1f - s * (1.0f / 42 - s * (1.0f / 216 - s / 1320)))));
    }
    const float t = 1.0f / (1.0f + 0.3275911f * a);
    const float p = 0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f)));
    const float e = 1.0f - t * p * BR_EXPF(-s);
    return x < 0.0f ? -e : e;
}

/* x to the nearest whole number, ties to even; a float of 2^23 and more is whole already. */
BR_INLINE float br_rint_f32(float x)
{
    const float half = x < 0.0f ? -8388608.0f : 8388608.0f;
    return x > -8388608.0f && x < 8388608.0f ? (x + half) - half : x;
}

BR_INLINE float br_sign_f32(float x)
{
    return (float)((x > 0.0f) - (x < 0.0f));
}
