/* The port of Cortex-M55: Helium, sixteen int8 multiply-adds in one instruction.
 *
 * Predicated tails need no padding: a lane that is switched off is never read.
 */
#include <arm_mve.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BR_OWN static inline __attribute__((unused, always_inline))

#define BR_HAS_DOT_I8
/* See fixed.h. */
static inline __attribute__((unused)) int32_t br_dot_i8(const int8_t *x, const int8_t *w, int32_t n)
{
    int32_t sum = 0;
    for (int32_t i = n >> 4; i > 0; i--, x += 16, w += 16) {
        sum = vmladavaq_s8(sum, vldrbq_s8(x), vldrbq_s8(w));
    }
    if (n & 15) {
        const mve_pred16_t on = vctp8q((uint32_t)n & 15);
        sum = vmladavaq_s8(sum, vldrbq_z_s8(x, on), vldrbq_z_s8(w, on));
    }
    return sum;
}

/* Four rows of w, n apart, times one x, added to acc. */
BR_OWN void br_dot_4(int32_t *acc, const int8_t *x, const int8_t *w, int32_t n)
{
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    const int8_t *v = w + n, *u = w + 2 * n, *t = w + 3 * n;
    for (int32_t i = n >> 4; i > 0; i--, x += 16, w += 16, v += 16, u += 16, t += 16) {
        const int8x16_t many = vldrbq_s8(x);
        a = vmladavaq_s8(a, many, vldrbq_s8(w));
        b = vmladavaq_s8(b, many, vldrbq_s8(v));
        c = vmladavaq_s8(c, many, vldrbq_s8(u));
        d = vmladavaq_s8(d, many, vldrbq_s8(t));
    }
    if (n & 15) {
        const mve_pred16_t on = vctp8q((uint32_t)n & 15);
        const int8x16_t many = vldrbq_z_s8(x, on);
        a = vmladavaq_s8(a, many, vldrbq_z_s8(w, on));
        b = vmladavaq_s8(b, many, vldrbq_z_s8(v, on));
        c = vmladavaq_s8(c, many, vldrbq_z_s8(u, on));
        d = vmladavaq_s8(d, many, vldrbq_z_s8(t, on));
    }
    acc[0] = a, acc[1] = b, acc[2] = c, acc[3] = d;
}

/* One tap of eight channels: acc += x * w, even channels in the first vector, odd ones in the second. */
BR_OWN void br_tap_8(int32x4x2_t *acc, const int8_t *x, const int8_t *w)
{
    const int16x8_t a = vldrbq_s16(x), b = vldrbq_s16(w);
    acc->val[0] = vaddq_s32(acc->val[0], vmullbq_int_s16(a, b));
    acc->val[1] = vaddq_s32(acc->val[1], vmulltq_int_s16(a, b));
}

/* acc * mult / 2^shift, number by number, for four of which some shift is below 33. */
static __attribute__((noinline, unused)) int32x4_t br_requant_wide(int32x4_t acc, int32x4_t mult, int32x4_t shift)
{
    int32_t a[4], m[4], s[4];
    vst1q_s32(a, acc);
    vst1q_s32(m, mult);
    vst1q_s32(s, shift);
    for (int i = 0; i < 4; i++) {
        const int64_t v = ((int64_t)a[i] * m[i] + ((int64_t)1 << (s[i] - 1))) >> s[i];
        a[i] = v > 1024 ? 1024 : v < -1024 ? -1024 : (int32_t)v;
    }
    return vld1q_s32(a);
}

/* Four times br_requant_i8 of fixed.h, in 32-bit lanes. Above 32, a shift and its rounding never see the low word
 * of the product. */
BR_OWN int32x4_t br_requant_4(int32x4_t acc, int32x4_t mult, int32x4_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    int32x4_t v = vmulhq_s32(acc, mult);
    v = vrshlq_s32(v, vsubq_s32(vdupq_n_s32(32), shift)); /* to the right, rounded half up */
    if (__builtin_expect((int)vcmpleq_n_s32(shift, 32), 0)) {
        v = br_requant_wide(acc, mult, shift);
    }
    return vminq_s32(vmaxq_s32(vaddq_n_s32(v, zero), vdupq_n_s32(lo)), vdupq_n_s32(hi));
}

/* Scales of channels n .. n + 3; with one scale for all, that one. */
BR_OWN int32x4_t br_load_mult(const int32_t *mult, int32_t scales, int32_t n, mve_pred16_t on)
{
    return scales > 1 ? vldrwq_z_s32(mult + n, on) : vdupq_n_s32(mult[0]);
}

BR_OWN int32x4_t br_load_shift(const int8_t *shift, int32_t scales, int32_t n, mve_pred16_t on)
{
    return scales > 1 ? vorrq_s32(vldrbq_z_s32(shift + n, on), vdupq_n_s32(0)) : vdupq_n_s32(shift[0]);
}

/* One column x of n terms times all rows of w [count,n]: y[0 .. count). */
BR_OWN void br_column_i8(const int8_t *x, const int8_t *w, const int32_t *b, const int32_t *mult, const int8_t *shift,
                         int8_t *y, int32_t n, int32_t count, int32_t scales, int32_t zero, int32_t lo, int32_t hi)
{
    for (int32_t row = 0; row < count; row += 4, w += 4 * n) {
        const mve_pred16_t on = vctp32q((uint32_t)(count - row));
        int32_t acc[4] = {0, 0, 0, 0};
        if (count - row >= 4) {
            br_dot_4(acc, x, w, n);
        } else {
            for (int32_t i = 0; i < count - row; i++) {
                acc[i] = br_dot_i8(x, w + i * n, n);
            }
        }
        const int32x4_t sum = vaddq_s32(vld1q_s32(acc), vldrwq_z_s32(b + row, on));
        const int32x4_t m = br_load_mult(mult, scales, row, on), s = br_load_shift(shift, scales, row, on);
        vstrbq_p_s32(y + row, br_requant_4(sum, m, s, zero, lo, hi), on);
    }
}
