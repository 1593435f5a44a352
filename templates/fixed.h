/* What integer brains are made of: the C twin of brainc/numerics.py, to the bit.
 *
 * Plain C99. A port (targets/NAME/port.h, which comes first) may bring its own version of anything here:
 * it defines BR_HAS_DOT_I8 and br_dot_i8, say, and the one below is left out. Its version must give the same
 * numbers for every input that the comment here allows.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __GNUC__
#define BR_INLINE static inline __attribute__((unused))
#else
#define BR_INLINE static inline
#endif

/* --- Sizes and constants: a machine with one memory, unless the port says otherwise --- */

#ifndef BR_HAS_LEN
typedef int32_t br_len; /* a size, or an index of an element */
typedef int32_t br_pos; /* a row or column that may lie outside the picture */
#endif

#ifndef BR_HAS_CP
#define BR_CP(T) const T *                            /* points to constants */
#define BR_CREF(symbol) (symbol)                      /* a constant's name as such a pointer */
#define BR_CP_ADD(p, T, i) ((p) + (i))                /* i elements further on */
#define BR_LD_I8(p, i) ((p)[i])
#define BR_LD_I16(p, i) ((p)[i])
#define BR_LD_I32(p, i) ((p)[i])
#define BR_LD_F32(p, i) ((p)[i])
#define BR_CONST(T, name, n) static const T name[n]   /* defines a constant: BR_CONST(int8_t, w, 3) = {…}; */
#endif

#ifndef BR_HAS_COPY_FLASH
/* Bytes of a constant to RAM. */
BR_INLINE void br_copy_flash(void *to, BR_CP(void) from, br_len bytes)
{
    memcpy(to, from, (size_t)bytes);
}
#endif

/* All right shifts of negative numbers below are arithmetic, as on every compiler we know of. */
typedef char br_shifts_are_arithmetic[(-3 >> 1) == -2 ? 1 : -1];

/* --- Numbers --- */

#ifndef BR_HAS_CLAMP_I32
BR_INLINE int32_t br_clamp_i32(int32_t v, int32_t lo, int32_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}
#endif

#ifndef BR_HAS_ROUNDING_SHIFT
/* v / 2^shift, rounded half up; 1 <= shift <= 62 and |v| <= 2^62. */
BR_INLINE int64_t br_rounding_shift(int64_t v, int8_t shift)
{
    return (v + ((int64_t)1 << (shift - 1))) >> shift;
}
#endif

#ifndef BR_HAS_REQUANT_ONCE_I8
/* clamp(acc * mult / 2^shift + zero, lo, hi), rounded once; mult >= 0, 1 <= shift <= 62, lo and hi of int8. */
BR_INLINE int8_t br_requant_once_i8(int32_t acc, int32_t mult, int8_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    const int64_t v = br_rounding_shift((int64_t)acc * mult, shift) + zero;
    return (int8_t)(v < lo ? lo : v > hi ? hi : v);
}
#endif

/* a * b / 2^31, rounded half up: the product of two fractions of 31 bits, of which one is not -1. */
BR_INLINE int32_t br_high_product(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* v / 2^shift, rounded half away from zero; 0 <= shift <= 31. */
BR_INLINE int32_t br_half_away_shift(int32_t v, int8_t shift)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << shift) - 1);
    return (v >> shift) + ((v & mask) > (mask >> 1) + (v < 0));
}

#ifndef BR_HAS_SCALE_TFLITE
/* v * mult / 2^shift as TFLite rounds: to 31 fractional bits half up, the rest of the shift half away from zero. A port
 * may hold results beyond 2^30 near there. */
BR_INLINE int32_t br_scale_tflite(int32_t v, int32_t mult, int8_t shift)
{
    if (shift < 31) {
        return br_high_product((int32_t)((uint32_t)v << (31 - shift)), mult);
    }
    return br_half_away_shift(br_high_product(v, mult), (int8_t)(shift - 31));
}
#endif

#ifndef BR_HAS_REQUANT_TFLITE_I8
/* br_requant_once_i8 with TFLite's rounding. */
BR_INLINE int8_t br_requant_tflite_i8(int32_t acc, int32_t mult, int8_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    return (int8_t)br_clamp_i32(br_scale_tflite(acc, mult, shift) + zero, lo, hi);
}
#endif

/* The same to int16. Rounded once, acc may have 48 bits if mult has 15. */
BR_INLINE int16_t br_requant_once_i16(int64_t acc, int32_t mult, int8_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    const int64_t v = br_rounding_shift(acc * mult, shift) + zero;
    return (int16_t)(v < lo ? lo : v > hi ? hi : v);
}

BR_INLINE int16_t br_requant_tflite_i16(int32_t acc, int32_t mult, int8_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    return (int16_t)br_clamp_i32(br_scale_tflite(acc, mult, shift) + zero, lo, hi);
}

#ifndef BR_HAS_REQUANT_EVEN_I8
/* The same with ties to even: a mean of 2, 4, 8 … cells lies between two steps all the time. */
BR_INLINE int8_t br_requant_even_i8(int32_t acc, int32_t mult, int8_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    const int64_t exact = (int64_t)acc * mult, half = (int64_t)1 << (shift - 1);
    const int64_t up = br_rounding_shift(exact, shift);
    const int64_t v = up - ((exact & (2 * half - 1)) == half ? up & 1 : 0) + zero;
    return (int8_t)(v < lo ? lo : v > hi ? hi : v);
}
#endif

#ifndef BR_HAS_ADD_I8
/* clamp(((a - za) * ma + (b - zb) * mb) / 2^shift + zero, lo, hi); |ma|, |mb| < 2^21, 1 <= shift <= 30. */
BR_INLINE int8_t br_add_i8(int8_t a, int8_t b, int32_t za, int32_t zb, int32_t ma, int32_t mb, int8_t shift,
                           int32_t zero, int32_t lo, int32_t hi)
{
    const int32_t sum = (a - za) * ma + (b - zb) * mb;
    return (int8_t)br_clamp_i32(((sum + ((int32_t)1 << (shift - 1))) >> shift) + zero, lo, hi);
}
#endif

/* a + b on one scale: (a - za) * 2^left scaled by |ma| / 2^sa, b likewise; a negative ma or mb subtracts.
 * 31 <= sa, sb <= 62. */
BR_INLINE int32_t br_total_tflite(int8_t a, int8_t b, int32_t za, int32_t zb, int32_t ma, int32_t mb, int8_t sa,
                                  int8_t sb, int8_t left)
{
    const int32_t x = br_scale_tflite((a - za) * ((int32_t)1 << left), ma < 0 ? -ma : ma, sa);
    const int32_t y = br_scale_tflite((b - zb) * ((int32_t)1 << left), mb < 0 ? -mb : mb, sb);
    return (ma < 0 ? -x : x) + (mb < 0 ? -y : y);
}

#ifndef BR_HAS_ADD_TFLITE_I8
/* a + b as TFLite adds: their sum on one scale, brought to that of the result by mult / 2^shift. */
BR_INLINE int8_t br_add_tflite_i8(int8_t a, int8_t b, int32_t za, int32_t zb, int32_t ma, int32_t mb, int8_t sa,
                                  int8_t sb, int8_t left, int32_t mult, int8_t shift, int32_t zero, int32_t lo,
                                  int32_t hi)
{
    return br_requant_tflite_i8(br_total_tflite(a, b, za, zb, ma, mb, sa, sb, left), mult, shift, zero, lo, hi);
}
#endif

/* The same on int16; left <= 15. */
BR_INLINE int16_t br_add_tflite_i16(int16_t a, int16_t b, int32_t za, int32_t zb, int32_t ma, int32_t mb, int8_t sa,
                                    int8_t sb, int8_t left, int32_t mult, int8_t shift, int32_t zero, int32_t lo,
                                    int32_t hi)
{
    const int32_t x = br_scale_tflite((a - za) * ((int32_t)1 << left), ma < 0 ? -ma : ma, sa);
    const int32_t y = br_scale_tflite((b - zb) * ((int32_t)1 << left), mb < 0 ? -mb : mb, sb);
    return br_requant_tflite_i16((ma < 0 ? -x : x) + (mb < 0 ? -y : y), mult, shift, zero, lo, hi);
}

/* A function of v that is straight between 513 knots, 128 apart, rounded half up; no two neighbours 2^15 apart. */
BR_INLINE int16_t br_between_i16(int16_t v, BR_CP(int16_t) knots)
{
    const br_len i = (br_len)(256 + (v >> 7));
    const int32_t low = BR_LD_I16(knots, i), step = BR_LD_I16(knots, i + 1) - low;
    return (int16_t)(low + ((step * (v & 127) + 64) >> 7));
}

/* v where it is not negative, else v times its slope, each scaled by its own factor as TFLite rounds. */
BR_INLINE int8_t br_prelu_tflite_i8(int32_t v, int32_t slope, int32_t mult, int8_t shift, int32_t mult_neg,
                                    int8_t shift_neg, int32_t zero)
{
    return v >= 0 ? br_requant_tflite_i8(v, mult, shift, zero, -128, 127)
                  : br_requant_tflite_i8(v * slope, mult_neg, shift_neg, zero, -128, 127);
}

BR_INLINE int16_t br_prelu_tflite_i16(int32_t v, int32_t slope, int32_t mult, int8_t shift, int32_t mult_neg,
                                      int8_t shift_neg, int32_t zero)
{
    return v >= 0 ? br_requant_tflite_i16(v, mult, shift, zero, -32768, 32767)
                  : br_requant_tflite_i16(v * slope, mult_neg, shift_neg, zero, -32768, 32767);
}

#ifndef BR_HAS_DOT_I8
/* Sum of x[i] * w[i], i < n; w is a constant. A product fits the 16 bits of the smallest int. */
BR_INLINE int32_t br_dot_i8(const int8_t *x, BR_CP(int8_t) w, br_len n)
{
    int32_t sum = 0;
    for (br_len i = 0; i < n; i++) {
        sum += x[i] * BR_LD_I8(w, i);
    }
    return sum;
}
#endif

#ifndef BR_HAS_DOT_I4
/* Sum of x[i] * w[i], i < n, of weights of 4 bits: two to a byte, the lower half first. */
BR_INLINE int32_t br_dot_i4(const int8_t *x, BR_CP(int8_t) w, br_len n)
{
    int32_t sum = 0;
    br_len i = 0;
    for (; i + 1 < n; i += 2) {
        const int8_t two = (int8_t)BR_LD_I8(w, i / 2);
        sum += x[i] * ((int8_t)((uint8_t)two << 4) >> 4) + x[i + 1] * (two >> 4);
    }
    return i < n ? sum + x[i] * ((int8_t)((uint8_t)BR_LD_I8(w, i / 2) << 4) >> 4) : sum;
}
#endif

/* The same over a row of n, whose every `group` terms begin with a byte of their own and are multiplied by a byte of
 * *s; *w and *s move on to the next row. */
BR_INLINE int32_t br_groups_i4(const int8_t *x, BR_CP(int8_t) *w, BR_CP(uint8_t) *s, br_len n, br_len group)
{
    int32_t sum = 0;
    for (br_len at = 0; at < n; at += group) {
        const br_len some = n - at < group ? n - at : group;
        sum += (int32_t)(uint8_t)BR_LD_I8(*s, 0) * br_dot_i4(x + at, *w, some);
        *w = BR_CP_ADD(*w, int8_t, (some + 1) / 2);
        *s = BR_CP_ADD(*s, uint8_t, 1);
    }
    return sum;
}

#ifndef BR_HAS_SUM_I8
/* Sum of every `step`th of x, n of them. */
BR_INLINE int32_t br_sum_i8(const int8_t *x, br_len n, br_len step)
{
    int32_t sum = 0;
    for (br_len i = 0; i < n; i++) {
        sum += x[i * step];
    }
    return sum;
}
#endif

/* uint8 to int8 with the zero point moved by 128, and back: the top bit flips. */
BR_INLINE uint8_t br_shift_u8(uint8_t v)
{
    return (uint8_t)(v ^ 0x80U);
}

/* weight / total as a fraction of 2^15, rounded half up; weight <= 2^16, weight <= total <= 2^31. */
BR_INLINE int32_t br_softmax_probability(uint32_t weight, uint32_t total)
{
    return (int32_t)((weight * 32768U + total / 2) / total);
}

/* 1 / (1 + x) of fractions of 31 bits: three of Newton's steps; between 1 and 4 numbers are fractions of 2^29. */
BR_INLINE int32_t br_reciprocal(int32_t x)
{
    const int32_t d = (int32_t)(((uint32_t)x + ((uint32_t)1 << 31)) >> 1);
    int32_t y = 1515870810L + br_high_product(d, -1010580540L);
    for (int step = 0; step < 3; step++) {
        y += br_high_product(y, ((int32_t)1 << 29) - br_high_product(d, y)) * 4;
    }
    return y >= (int32_t)1 << 30 ? INT32_MAX : y * 2;
}

/* What a row of weights (fractions of 2^31), whose sum with 19 fractional bits is `total`, is to be multiplied with,
 * and in *shift what the product is to be shifted by, for probabilities of 256 to the whole. */
BR_INLINE int32_t br_softmax_scale_tflite(uint32_t total, int8_t *shift)
{
    int8_t zeros = 0;
    for (; (total & 0x80000000UL) == 0; total <<= 1) {
        zeros++;
    }
    *shift = (int8_t)(35 - zeros);
    return br_reciprocal((int32_t)(total & 0x7FFFFFFFUL));
}

/* mult, about 2^*shift / sqrt(x), x < 2^31: x becomes 1/4..1 by pairs of bits, then five of Newton's steps. */
BR_INLINE int32_t br_inverse_root(uint32_t x, int8_t *shift)
{
    int32_t y = (int32_t)1 << 28;
    *shift = 31;
    if (x <= 1) {
        return INT32_MAX;
    }
    *shift = 42;
    for (; x >= (uint32_t)1 << 29; x >>= 2) {
        *shift = (int8_t)(*shift + 1);
    }
    for (; x < (uint32_t)1 << 27; x <<= 2) {
        *shift = (int8_t)(*shift - 1);
    }
    const int32_t half = br_half_away_shift((int32_t)(x >> 1), 1);
    for (int step = 0; step < 5; step++) {
        const int32_t cube = br_high_product(br_high_product(y, y), y) * 64;
        y = (br_high_product(y, 402653184L) - br_high_product(half, cube)) * 8;
    }
    y = br_high_product(y, 1518500250L);
    for (; *shift < 31; y *= 2) {
        *shift = (int8_t)(*shift + 1);
    }
    return y;
}

/* A sum of `count` terms divided by their number, rounded half away from zero. */
BR_INLINE int32_t br_mean_tflite(int32_t sum, int32_t count)
{
    return (sum < 0 ? sum - count / 2 : sum + count / 2) / count;
}

/* --- Drawing one of many --- */

/* The next 32 bits of xorshift32; the state, which moves on, is never 0. */
BR_INLINE uint32_t br_random(int32_t *state)
{
    uint32_t x = (uint32_t)*state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = (int32_t)x;
    return x;
}

/* A seed that is not 0 as a first state: neighbours begin far apart. */
BR_INLINE int32_t br_scrambled(int32_t seed)
{
    return (int32_t)((uint32_t)seed * 2654435769UL);
}

/* What one unit of a logit is in powers of two, with 16 fractional bits, at this temperature. */
BR_INLINE uint32_t br_sample_step(uint32_t mult, uint32_t temperature)
{
    const uint32_t step = (mult + temperature / 2) / temperature;
    return step < 16777216UL ? step : 16777216UL;
}

/* The weight of a logit that far below the largest, which has 2^15; powers are 2^(15 - i / 32). */
BR_INLINE uint16_t br_sample_weight(uint8_t below, uint32_t step, BR_CP(int16_t) powers)
{
    const uint32_t k = below * step + 1024;
    const uint16_t octaves = (uint16_t)(k >> 16);
    uint16_t weight = (uint16_t)BR_LD_I16(powers, (br_len)((uint8_t)(k >> 8) >> 3));
    if (octaves > 16) {
        return 0;
    }
    if (octaves > 0) {
        weight = (uint16_t)(weight >> (uint8_t)(octaves - 1));
        weight = (uint16_t)((weight + 1U) >> 1);
    }
    return weight;
}

/* The same where the largest has 2^30. */
BR_INLINE uint32_t br_sample_weight_long(uint8_t below, uint32_t step, BR_CP(int16_t) powers)
{
    const uint32_t k = below * step + 1024, octaves = k >> 16;
    const uint32_t whole = (uint32_t)(uint16_t)BR_LD_I16(powers, (br_len)((uint8_t)(k >> 8) >> 3)) << 15;
    return octaves == 0 ? whole : octaves > 31 ? 0 : ((whole >> (octaves - 1)) + 1) >> 1;
}

/* --- Windows --- */

/* How many taps, `step` apart, lie before the picture when the first is at `start`. */
BR_INLINE br_len br_first_tap(br_pos start, br_len step)
{
    return start >= 0 ? 0 : (br_len)((-start + (br_pos)step - 1) / (br_pos)step);
}

/* One more than the last of `taps` taps that lies before the end of the picture. */
BR_INLINE br_len br_end_tap(br_pos start, br_len step, br_len taps, br_len size)
{
    const br_pos room = (br_pos)size - start;
    const br_len inside = room <= 0 ? 0 : (br_len)((room + (br_pos)step - 1) / (br_pos)step);
    return inside < taps ? inside : taps;
}

#ifndef BR_HAS_WINDOW_I8
/* Gathers one window of a picture x [h,w,pixel] whose first tap is at (top, left): kh x kw pixels, dh and dw
 * apart, `count` bytes of each, one after the other; a pixel outside the picture is all `fill`. */
BR_INLINE void br_window_i8(int8_t *to, const int8_t *x, br_len h, br_len w, br_len pixel, br_len count, br_pos top,
                            br_pos left, br_len kh, br_len kw, br_len dh, br_len dw, int8_t fill)
{
    const int whole = left >= 0 && left + (br_pos)kw <= (br_pos)w && dw == 1 && count == pixel;
    for (br_len ky = 0; ky < kh; ky++) {
        const br_pos iy = top + (br_pos)(ky * dh);
        const int inside = iy >= 0 && iy < (br_pos)h;   /* no NULL for a row outside: gcc would take scratch for one too */
        const int8_t *const row = x + (inside ? (size_t)iy * (size_t)w * (size_t)pixel : 0);
        if (!inside) {
            memset(to, fill, (size_t)(kw * count));
            to += kw * count;
        } else if (whole) {
            memcpy(to, row + (size_t)left * (size_t)pixel, (size_t)(kw * count));
            to += kw * count;
        } else {
            for (br_len kx = 0; kx < kw; kx++, to += count) {
                const br_pos ix = left + (br_pos)(kx * dw);
                if (ix >= 0 && ix < (br_pos)w) {
                    memcpy(to, row + (size_t)ix * (size_t)pixel, (size_t)count);
                } else {
                    memset(to, fill, (size_t)count);
                }
            }
        }
    }
}
#endif
