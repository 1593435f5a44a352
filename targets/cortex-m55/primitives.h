/* What Cortex-M55 is good at: Helium, sixteen int8 multiply-adds in one instruction. */
#include <arm_mve.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* With BR_PLAIN_C no instruction is written by hand, here and in the kernels: the same numbers by way of <arm_mve.h>. */
#define BR_OWN static inline __attribute__((unused, always_inline))

/* gcc 12 believes that a load or store of <arm_mve.h> touches the first number alone and moves stores of others
 * across it; code that uses them on memory that changes stands between two of these. */
#define BR_FENCE __asm__ volatile("" ::: "memory")

#define BR_HAS_DOT_I8
/* See fixed.h. */
static inline __attribute__((unused)) int32_t br_dot_i8(const int8_t *x, const int8_t *w, int32_t n)
{
    int32_t sum = 0;
    BR_FENCE;
    for (int32_t i = n >> 4; i > 0; i--, x += 16, w += 16) {
        sum = vmladavaq_s8(sum, vldrbq_s8(x), vldrbq_s8(w));
    }
    if (n & 15) {
        const mve_pred16_t on = vctp8q((uint32_t)n & 15);
        sum = vmladavaq_s8(sum, vldrbq_z_s8(x, on), vldrbq_z_s8(w, on));
    }
    return sum;
}

/* n bytes from one place to another. */
BR_OWN void br_copy_i8(int8_t *to, const int8_t *from, int32_t n)
{
#ifdef BR_PLAIN_C
    memcpy(to, from, (size_t)n);
#else
    __asm__ volatile("wlstp.8 lr, %[n], 2f\n"
                     "1:\n\t"
                     "vldrb.8 q0, [%[from]], #16\n\t"
                     "vstrb.8 q0, [%[to]], #16\n\t"
                     "letp lr, 1b\n"
                     "2:"
                     : [to] "+r"(to), [from] "+r"(from)
                     : [n] "r"(n)
                     : "q0", "lr", "memory");
#endif
}

/* n bytes that are all v. */
BR_OWN void br_fill_i8(int8_t *to, int32_t v, int32_t n)
{
#ifdef BR_PLAIN_C
    memset(to, v, (size_t)n);
#else
    __asm__ volatile("vdup.8 q0, %[v]\n\t"
                     "wlstp.8 lr, %[n], 2f\n"
                     "1:\n\t"
                     "vstrb.8 q0, [%[to]], #16\n\t"
                     "letp lr, 1b\n"
                     "2:"
                     : [to] "+r"(to)
                     : [v] "r"(v), [n] "r"(n)
                     : "q0", "lr", "memory");
#endif
}

/* How sums of four channels become int8: (acc << left) * factor / 2^32, shifted right and rounded (packs/helium.py). */
typedef struct br_scale_4 {
    int32x4_t factor, left, right;
} br_scale_4;

/* Four sums, scaled: what br_requant_once_i8 of fixed.h makes of them before it adds zero. The upper half of the product
 * is enough, as the rounding bit lies in it. */
BR_OWN int32x4_t br_scaled_once_4(int32x4_t acc, br_scale_4 scale)
{
    return vrshlq_s32(vmulhq_s32(vqshlq_s32(acc, scale.left), scale.factor), scale.right);
}

/* The same as TFLite rounds it: (acc << left) * factor / 2^31 half up, then shifted right half away from zero. */
BR_OWN int32x4_t br_scaled_tflite_4(int32x4_t acc, br_scale_4 scale)
{
    const int32x4_t v = vqrdmulhq_s32(vshlq_s32(acc, scale.left), scale.factor);
    return vrshlq_s32(vaddq_s32(v, vshrq_n_s32(vandq_s32(v, scale.right), 31)), scale.right);
}

/* What the tiles of kernels/_parts work on: three columns x, `step` from one row of y to the next. */
typedef struct br_tile {
    int8_t *y;
    const int32_t *finish;
    const int8_t *w, *x[3];
    int32_t count, step[2], zero, lo, hi;
} br_tile;

/* What the part `planes` works on: the rows of x under a row of y, and those bits of `holes` set that lie outside. */
typedef struct br_planes {
    const int8_t *row[4];
    int8_t *y;
    const int32_t *finish;
    const int8_t *w;
    int32_t channels;
    int8_t *planes;
    int32_t columns, zero, lo, hi, holes, fill;
    uint16_t places[4][8];
} br_planes;

/* The last step of every tile: four sums and their constants (packs finish4) to `lanes` numbers of y. */
BR_OWN void br_finish_4(int8_t *y, const int32_t *sum, const int32_t *finish, int plain, int tflite, int32_t zero,
                        int32_t lo, int32_t hi, int32_t lanes)
{
    const int8_t *const steps = (const int8_t *)(finish + 8);
    const int32x4_t left = plain ? vdupq_n_s32(0) : vldrbq_s32(steps);
    const br_scale_4 scale = {vldrwq_s32(finish + 4), left, vldrbq_s32(plain ? steps : steps + 4)};
    const int32x4_t all = vaddq_s32(vldrwq_s32(sum), vldrwq_s32(finish));
    const int32x4_t v = vaddq_n_s32(tflite ? br_scaled_tflite_4(all, scale) : br_scaled_once_4(all, scale), zero);
    BR_FENCE;
    vstrbq_p_s32(y, vminq_s32(vmaxq_s32(v, vdupq_n_s32(lo)), vdupq_n_s32(hi)), vctp32q((uint32_t)lanes));
    BR_FENCE;
}

/* A layer of dot products: count filters w (packs rows4x16) of `terms`, their offsets and scales (fours, factor, steps). */
typedef struct br_filters {
    const int8_t *w;
    const int32_t *b, *factor;
    const int8_t *steps;
    int32_t terms, count, scales, zero, lo, hi;
} br_filters;

/* Four filters times x, added to b[0 .. 3]; *w holds sixteen terms of each in turn and moves on. The loop instructions
 * switch off the lanes behind the last term. */
BR_OWN int32x4_t br_dot_4(const int32_t *b, const int8_t *x, const int8_t **w, int32_t terms)
{
#ifdef BR_PLAIN_C
    int32x4_t all = vldrwq_s32(b);
    for (; terms > 0; terms -= 16, x += 16, *w += 64) {
        const int8x16_t there = vldrbq_z_s8(x, vctp8q((uint32_t)terms));
        all = vsetq_lane_s32(vmladavaq_s8(vgetq_lane_s32(all, 0), there, vldrbq_s8(*w)), all, 0);
        all = vsetq_lane_s32(vmladavaq_s8(vgetq_lane_s32(all, 1), there, vldrbq_s8(*w + 16)), all, 1);
        all = vsetq_lane_s32(vmladavaq_s8(vgetq_lane_s32(all, 2), there, vldrbq_s8(*w + 32)), all, 2);
        all = vsetq_lane_s32(vmladavaq_s8(vgetq_lane_s32(all, 3), there, vldrbq_s8(*w + 48)), all, 3);
    }
    return all;
#else
    int32_t sum0 = b[0], sum1 = b[1], sum2 = b[2], sum3 = b[3];
    int32x4_t all;
    __asm__("wlstp.8 lr, %[terms], 2f\n"
            "1:\n\t"
            "vldrb.8 q0, [%[x]], #16\n\t"
            "vldrb.8 q1, [%[w]], #16\n\t"
            "vmladava.s8 %[sum0], q0, q1\n\t"
            "vldrb.8 q1, [%[w]], #16\n\t"
            "vmladava.s8 %[sum1], q0, q1\n\t"
            "vldrb.8 q1, [%[w]], #16\n\t"
            "vmladava.s8 %[sum2], q0, q1\n\t"
            "vldrb.8 q1, [%[w]], #16\n\t"
            "vmladava.s8 %[sum3], q0, q1\n\t"
            "letp lr, 1b\n"
            "2:\n\t"
            "vmov %q[all][2], %q[all][0], %[sum0], %[sum2]\n\t"
            "vmov %q[all][3], %q[all][1], %[sum1], %[sum3]"
            : [sum0] "+Te"(sum0), [sum1] "+Te"(sum1), [sum2] "+Te"(sum2), [sum3] "+Te"(sum3), [x] "+r"(x),
              [w] "+r"(*w), [all] "=w"(all)
            : [terms] "r"(terms)
            : "q0", "q1", "lr", "memory");
    return all;
#endif
}

/* One column x times all filters: y[0 .. count), rounded once or as TFLite does. */
BR_OWN void br_column(const br_filters *f, const int8_t *x, int8_t *y, int tflite)
{
    const int32_t *b = f->b, *factor = f->factor;
    const int8_t *w = f->w, *left = f->steps, *right = left + (f->scales > 1 ? (f->scales + 3) & ~3 : 1);
    const int32x4_t lo = vdupq_n_s32(f->lo), hi = vdupq_n_s32(f->hi);
    const int32_t terms = f->terms, scales = f->scales, zero = f->zero;
    br_scale_4 scale = {vdupq_n_s32(*factor), vdupq_n_s32(*left), vdupq_n_s32(*right)};
    for (int32_t rest = f->count; rest > 0; rest -= 4, b += 4, y += 4) {
        const int32x4_t sum = br_dot_4(b, x, &w, terms);
        if (scales > 1) {
            scale = (br_scale_4){vldrwq_s32(factor), vldrbq_s32(left), vldrbq_s32(right)};
            factor += 4, left += 4, right += 4;
        }
        const int32x4_t scaled = tflite ? br_scaled_tflite_4(sum, scale) : br_scaled_once_4(sum, scale);
        const int32x4_t v = vminq_s32(vmaxq_s32(vaddq_n_s32(scaled, zero), lo), hi);
        if (rest >= 4) {
            vstrbq_s32(y, v);
        } else {
            vstrbq_p_s32(y, v, vctp32q((uint32_t)rest));
        }
    }
    BR_FENCE;
}

static __attribute__((noinline, unused)) void br_column_once(const br_filters *f, const int8_t *x, int8_t *y)
{
    br_column(f, x, y, 0);
}

static __attribute__((noinline, unused)) void br_column_tflite(const br_filters *f, const int8_t *x, int8_t *y)
{
    br_column(f, x, y, 1);
}

/* Sums of up to eight channels x over `rows` times `columns` pixels, fewer than 256 in all. */
static __attribute__((noinline, unused)) void br_sum_8(int16_t *sums, const int8_t *x, int32_t lanes, int32_t pixel,
                                                       int32_t columns, int32_t line, int32_t rows)
{
    int16x8_t sum = vdupq_n_s16(0);
    BR_FENCE;
    for (; rows > 0; rows--, x += line) {
        const int8_t *at = x;
        if (lanes >= 8) {
            for (int32_t i = columns; i > 0; i--, at += pixel) {
                sum = vaddq_s16(sum, vldrbq_s16(at));
            }
        } else {
            for (int32_t i = columns; i > 0; i--, at += pixel) {
                sum = vaddq_s16(sum, vldrbq_z_s16(at, vctp16q((uint32_t)lanes)));
            }
        }
    }
    vstrhq_s16(sums, sum);
    BR_FENCE;
}

/* One tap of up to eight channels: even ones are added to sum[0], odd ones to sum[1]. *w moves on to the next tap. */
BR_OWN void br_last_tap_8(int32x4_t *sum, const int8_t *x, const int8_t **w, int32_t lanes)
{
    const int16x8_t there = vldrbq_z_s16(x, vctp16q((uint32_t)lanes)), filter = vldrbq_s16(*w);
    sum[0] = vaddq_s32(sum[0], vmullbq_int_s16(there, filter));
    sum[1] = vaddq_s32(sum[1], vmulltq_int_s16(there, filter));
    *w += 8;
}

/* The same of eight. */
BR_OWN void br_tap_8(int32x4_t *sum, const int8_t *x, const int8_t **w)
{
#ifdef BR_PLAIN_C
    br_last_tap_8(sum, x, w, 8);
#else
    __asm__ volatile("vldrb.s16 q0, [%[x]]\n\t"
                     "vldrb.s16 q1, [%[w]], #8\n\t"
                     "vmullb.s16 q2, q0, q1\n\t"
                     "vmullt.s16 q0, q0, q1\n\t"
                     "vadd.i32 %q[even], %q[even], q2\n\t"
                     "vadd.i32 %q[odd], %q[odd], q0"
                     : [even] "+w"(sum[0]), [odd] "+w"(sum[1]), [w] "+l"(*w)
                     : [x] "l"(x)
                     : "q0", "q1", "q2", "memory");
#endif
}
