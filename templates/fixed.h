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

#ifndef BR_HAS_REQUANT_TFLITE_I8
/* The same rounded twice, as TFLite does: to 31 fractional bits, half up; the rest of the shift, half away from zero. */
BR_INLINE int8_t br_requant_tflite_i8(int32_t acc, int32_t mult, int8_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    int32_t v;
    if (shift < 31) {
        acc = (int32_t)((uint32_t)acc << (31 - shift));
    }
    v = (int32_t)(((int64_t)acc * mult + ((int64_t)1 << 30)) >> 31);
    if (shift > 31) {
        const int32_t half = (int32_t)((uint32_t)1 << (shift - 32));
        v = (int32_t)(((int64_t)v + half - (v < 0)) >> (shift - 31));
    }
    return (int8_t)br_clamp_i32(v + zero, lo, hi);
}
#endif

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
