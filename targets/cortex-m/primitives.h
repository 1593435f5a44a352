/* What the plain Cortex-M is good at: no vectors, but a product's upper word is all that a scale needs. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BR_OWN static inline __attribute__((unused))

/* The upper word of a * b; b >= 0. */
BR_OWN int32_t br_upper_word(int32_t a, int32_t b)
{
#ifdef __ARM_ARCH_6M__ /* has no long multiplication: four short ones */
    const int32_t a1 = a >> 16, b1 = b >> 16;
    const uint32_t a0 = (uint32_t)a & 0xffff, b0 = (uint32_t)b & 0xffff;
    const int32_t mid = a1 * (int32_t)b0 + (int32_t)(a0 * b0 >> 16);
    return a1 * b1 + (mid >> 16) + (int32_t)((a0 * (uint32_t)b1 + ((uint32_t)mid & 0xffff)) >> 16);
#else
    return (int32_t)((int64_t)a * b >> 32);
#endif
}

/* acc * mult / 2^shift, rounded once, for shifts below 33; held near int8. */
static __attribute__((noinline, unused)) int32_t br_scaled_wide(int32_t acc, int32_t mult, int32_t shift)
{
    const int64_t v = ((int64_t)acc * mult + ((int64_t)1 << (shift - 1))) >> shift;
    return v > 1024 ? 1024 : v < -1024 ? -1024 : (int32_t)v;
}

#define BR_HAS_REQUANT_ONCE_I8
/* See fixed.h. Above 32, a shift and its rounding never see the lower word of the product. */
static __attribute__((noinline, unused)) int8_t br_requant_once_i8(int32_t acc, int32_t mult, int8_t shift, int32_t zero,
                                                              int32_t lo, int32_t hi)
{
    int32_t v;
    if (shift > 32) {
        v = (br_upper_word(acc, mult) + ((int32_t)1 << (shift - 33))) >> (shift - 32);
    } else {
        v = br_scaled_wide(acc, mult, shift);
    }
    v += zero;
    return (int8_t)(v < lo ? lo : v > hi ? hi : v);
}

#define BR_HAS_DOT_I8
/* See fixed.h. */
BR_OWN int32_t br_dot_i8(const int8_t *x, const int8_t *w, int32_t n)
{
    int32_t sum = 0;
    for (; n >= 4; n -= 4, x += 4, w += 4) {
        sum += x[0] * w[0];
        sum += x[1] * w[1];
        sum += x[2] * w[2];
        sum += x[3] * w[3];
    }
    for (; n > 0; n--) {
        sum += *x++ * *w++;
    }
    return sum;
}
