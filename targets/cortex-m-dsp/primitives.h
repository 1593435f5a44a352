/* What Cortex-M cores with the DSP extension are good at: two 16-bit multiply-adds in one instruction (SMLAD).
 *
 * SXTB16 widens bytes 0 and 2 of a word, or 1 and 3 when rotated, so activations are widened once into the
 * order 0 2 1 3 and weights stay bytes until the moment they are used.
 */
#include <arm_acle.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BR_OWN static inline __attribute__((unused, always_inline))
#define BR_NAKED __attribute__((naked, noinline)) /* nothing but assembly: a tile needs every register */
#define BR_ARG __attribute__((unused))            /* an argument that the assembly takes from its register */

/* Four bytes from anywhere. */
BR_OWN uint32_t br_word(const void *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* Bytes 0 and 2 of a word, widened to 16 bits. */
BR_OWN int16x2_t br_even(uint32_t word)
{
    return __sxtb16((int8x4_t)word);
}

/* Bytes 1 and 3. */
BR_OWN int16x2_t br_odd(uint32_t word)
{
    int16x2_t wide;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(wide) : "r"(word));
    return wide;
}

/* v held between lo and hi, numbers of int8: nothing but SSAT where they are its ends. */
BR_OWN int8_t br_hold_i8(int32_t v, int32_t lo, int32_t hi)
{
    __asm__("ssat %0, #8, %0" : "+r"(v));
    if (lo > INT8_MIN) {
        v = v < lo ? lo : v;
    }
    if (hi < INT8_MAX) {
        v = v > hi ? hi : v;
    }
    return (int8_t)v;
}

/* acc * mult / 2^shift, rounded once; plus zero; held in the range of int8 by a margin: for shifts below 33. */
static __attribute__((noinline, unused)) int32_t br_requant_wide(int32_t acc, int32_t mult, int32_t shift, int32_t zero)
{
    const int64_t v = (((int64_t)acc * mult + ((int64_t)1 << (shift - 1))) >> shift) + zero;
    return v > INT8_MAX ? INT8_MAX : v < INT8_MIN ? INT8_MIN : (int32_t)v;
}

/* Half of `doubled`, times mult / 2^(31 + right), rounded twice as TFLite does (see br_scale_tflite in fixed.h). */
BR_OWN int32_t br_scaled_twice(int32_t doubled, int32_t mult, int32_t right)
{
    int32_t v;
    __asm__("smmulr %0, %1, %2" : "=r"(v) : "r"(doubled), "r"(mult));
    return right > 0 ? (v + (v >> 31) + (1 << (right - 1))) >> right : v;
}

#define BR_HAS_REQUANT_ONCE_I8
/* See fixed.h. Above 32, a shift and its rounding never see the low word of the product; the last step of the
 * shift, the zero point and the saturation are one addition and one SSAT. */
BR_OWN int8_t br_requant_once_i8(int32_t acc, int32_t mult, int32_t shift, int32_t zero, int32_t lo, int32_t hi)
{
    int32_t v;
    if (__builtin_expect(shift > 32, 1)) {
        __asm__("smmul %0, %1, %2\n\tasr %0, %0, %3" : "=&r"(v) : "r"(acc), "r"(mult), "r"(shift - 33));
        v += 2 * zero + 1;
        __asm__("ssat %0, #8, %0, asr #1" : "+r"(v));
    } else {
        v = br_requant_wide(acc, mult, shift, zero);
    }
    if (lo > INT8_MIN) {
        v = v < lo ? lo : v;
    }
    if (hi < INT8_MAX) {
        v = v > hi ? hi : v;
    }
    return (int8_t)v;
}

#define BR_HAS_DOT_I8
/* See fixed.h. */
static inline __attribute__((unused)) int32_t br_dot_i8(const int8_t *x, const int8_t *w, int32_t n)
{
    int32_t sum = 0;
    for (; n >= 4; n -= 4, x += 4, w += 4) {
        const uint32_t a = br_word(x), b = br_word(w);
        sum = __smlad(br_even(a), br_even(b), sum);
        sum = __smlad(br_odd(a), br_odd(b), sum);
    }
    for (; n > 0; n--) {
        sum += *x++ * *w++;
    }
    return sum;
}

/* One row x [n] times four filters, added to sum: w holds four terms of each in turn (packs.quads4), the last ones
 * filled up with zeros. Returns where the next four filters are. */
BR_OWN const int8_t *br_row_4(int32_t *sum, const int8_t *x, const int8_t *w, int32_t n)
{
    int32_t fours = n >> 2;
    uint32_t even, odd, u, v, t;
#define BR_TWO_FILTERS(a, b) \
    "ldrd %[u], %[v], [%[w]], #8\n\t" \
    "sxtb16 %[t], %[u]\n\t" \
    "smlad %[" a "], %[t], %[even], %[" a "]\n\t" \
    "sxtb16 %[u], %[u], ror #8\n\t" \
    "smlad %[" a "], %[u], %[odd], %[" a "]\n\t" \
    "sxtb16 %[t], %[v]\n\t" \
    "smlad %[" b "], %[t], %[even], %[" b "]\n\t" \
    "sxtb16 %[v], %[v], ror #8\n\t" \
    "smlad %[" b "], %[v], %[odd], %[" b "]\n\t"
    __asm__("cbz %[fours], 2f\n"
            "1:\n\t"
            "ldr %[odd], [%[x]], #4\n\t"
            "sxtb16 %[even], %[odd]\n\t"
            "sxtb16 %[odd], %[odd], ror #8\n\t"
            BR_TWO_FILTERS("a", "b")
            BR_TWO_FILTERS("c", "d")
            "subs %[fours], #1\n\t"
            "bne 1b\n"
            "2:"
            : [a] "+r"(sum[0]), [b] "+r"(sum[1]), [c] "+r"(sum[2]), [d] "+r"(sum[3]), [x] "+r"(x), [w] "+r"(w),
              [fours] "+l"(fours), [even] "=&r"(even), [odd] "=&r"(odd), [u] "=&r"(u), [v] "=&r"(v), [t] "=&r"(t)
            :
            : "cc", "memory");
#undef BR_TWO_FILTERS
    for (int32_t k = 0; k < (n & 3); k++) {
        for (int32_t i = 0; i < 4; i++) {
            sum[i] += x[k] * w[4 * i + k];
        }
    }
    return n & 3 ? w + 16 : w;
}

/* Widens n bytes of x into one of the two columns of a tile: four numbers in the order 0 2 1 3, then room for
 * the other column's four. The last four are filled up with zeros. */
static inline __attribute__((unused)) void br_widen_column(uint8_t *column, const int8_t *x, int32_t n)
{
    uint32_t wide[2];
    for (; n > 0; n -= 4, x += 4, column += 16) {
        uint32_t word = 0;
        if (n >= 4) {
            word = br_word(x);
        } else {
            memcpy(&word, x, (size_t)n);
        }
        wide[0] = (uint32_t)br_even(word);
        wide[1] = (uint32_t)br_odd(word);
        memcpy(column, wide, sizeof wide);
    }
}

/* Two filters times two columns, four terms at a time: acc[0], acc[1] for the first filter, then the second.
 * w holds, for each four terms, the bytes of one filter and then of the other (packs.pairs4). */
BR_OWN const int8_t *br_tile_2x2(int32_t *acc, const int8_t *w, const uint8_t *columns, int32_t fours)
{
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    __asm__ volatile(
        ".macro br_step\n"
        "ldmia %[x]!, {r8, r9, r10, r11}\n"
        "ldr r12, [%[w]], #4\n"
        "sxtb16 lr, r12\n"
        "smlad %[a], lr, r8, %[a]\n"
        "smlad %[b], lr, r10, %[b]\n"
        "sxtb16 r12, r12, ror #8\n"
        "ldr lr, [%[w]], #4\n"
        "smlad %[a], r12, r9, %[a]\n"
        "smlad %[b], r12, r11, %[b]\n"
        "sxtb16 r12, lr\n"
        "smlad %[c], r12, r8, %[c]\n"
        "smlad %[d], r12, r10, %[d]\n"
        "sxtb16 lr, lr, ror #8\n"
        "smlad %[c], lr, r9, %[c]\n"
        "smlad %[d], lr, r11, %[d]\n"
        ".endm\n"
        "subs %[n], #4\n"
        "blt 2f\n"
        "1:\n"
        "br_step\n br_step\n br_step\n br_step\n"
        "subs %[n], #4\n"
        "bge 1b\n"
        "2:\n"
        "adds %[n], #4\n"
        "beq 4f\n"
        "3:\n"
        "br_step\n"
        "subs %[n], #1\n"
        "bne 3b\n"
        "4:\n"
        ".purgem br_step\n"
        : [a] "+l"(a), [b] "+l"(b), [c] "+l"(c), [d] "+l"(d), [w] "+l"(w), [x] "+l"(columns), [n] "+l"(fours)
        :
        : "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
    acc[0] = a, acc[1] = b, acc[2] = c, acc[3] = d;
    return w;
}

/* Widens n bytes of x into one of the three columns of a group: four numbers in the order 0 2 1 3, then room for those
 * of the other columns. What is missing to whole fours is zero. */
static inline __attribute__((unused)) void br_widen_of_three(uint8_t *column, const int8_t *x, int32_t n)
{
    int32_t fours = n >> 2;
    uint32_t word, even;
#define BR_WIDEN \
    "ldr %[word], [%[x]], #4\n\t" \
    "sxtb16 %[even], %[word]\n\t" \
    "sxtb16 %[word], %[word], ror #8\n\t" \
    "strd %[even], %[word], [%[column]], #24\n\t"
    __asm__ volatile("subs %[fours], #4\n\t"
                     "blt 2f\n"
                     "1:\n\t"
                     BR_WIDEN BR_WIDEN BR_WIDEN BR_WIDEN
                     "subs %[fours], #4\n\t"
                     "bge 1b\n"
                     "2:\n\t"
                     "adds %[fours], #4\n\t"
                     "beq 4f\n"
                     "3:\n\t"
                     BR_WIDEN
                     "subs %[fours], #1\n\t"
                     "bne 3b\n"
                     "4:"
                     : [column] "+l"(column), [x] "+l"(x), [fours] "+l"(fours), [word] "=&r"(word), [even] "=&r"(even)
                     :
                     : "cc", "memory");
#undef BR_WIDEN
    if (n & 3) {
        uint32_t wide[2];
        word = 0;
        memcpy(&word, x, (size_t)n & 3);
        wide[0] = (uint32_t)br_even(word);
        wide[1] = (uint32_t)br_odd(word);
        memcpy(column, wide, sizeof wide);
    }
}

/* The same for three rows of x at once, n bytes each and whole fours. */
BR_OWN void br_widen_three(uint8_t *columns, const int8_t *x, int32_t n)
{
    const int8_t *second = x + n, *third = second + n, *const end = second;
    __asm__ volatile("1:\n\t"
                     "ldr r5, [%[x]], #4\n\t"
                     "ldr r8, [%[second]], #4\n\t"
                     "ldr r10, [%[third]], #4\n\t"
                     "sxtb16 r4, r5\n\t"
                     "sxtb16 r5, r5, ror #8\n\t"
                     "sxtb16 r6, r8\n\t"
                     "sxtb16 r8, r8, ror #8\n\t"
                     "sxtb16 r9, r10\n\t"
                     "sxtb16 r10, r10, ror #8\n\t"
                     "stmia %[columns]!, {r4, r5, r6, r8, r9, r10}\n\t"
                     "cmp %[x], %[end]\n\t"
                     "bne 1b"
                     : [columns] "+&r"(columns), [x] "+&r"(x), [second] "+&r"(second), [third] "+&r"(third)
                     : [end] "r"(end)
                     : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
}

/* The last of what a tile makes of an accumulator: n bits but one are shifted out, the last one rounds. */
BR_OWN int8_t br_finish(int32_t v, int32_t n, int32_t zero, int32_t lo, int32_t hi)
{
    v = ((v >> n) + 2 * zero + 1) >> 1;
    return (int8_t)(v < lo ? lo : v > hi ? hi : v);
}

/* From twice an accumulator, in the rounding profile `once`: times factor / 2^(32 + n). */
BR_OWN int8_t br_finish_once(int32_t twice, int32_t factor, int32_t n, int32_t zero, int32_t lo, int32_t hi)
{
    return br_finish((int32_t)((int64_t)twice * factor >> 32), n, zero, lo, hi);
}

/* And in `tflite`. */
BR_OWN int8_t br_finish_tflite(int32_t twice, int32_t factor, int32_t n, int32_t zero, int32_t lo, int32_t hi)
{
    const int32_t v = (int32_t)(((int64_t)twice * factor + ((int64_t)1 << 31)) >> 32);
    return br_finish(v + (v >> 31), n, zero, lo, hi);
}

/* What a layer's tiles are multiplied by: filters w (packs.pairs4) of 4 * fours terms, count of them. */
typedef struct br_filters {
    const int8_t *w;
    const int32_t *b, *mult;
    const int8_t *shift;
    int32_t fours, count, scales, zero, lo, hi;
} br_filters;

/* Two results of filter n, the second only if there is a place for it. */
BR_OWN void br_put(const br_filters *f, int32_t n, int32_t a, int32_t b, int8_t *y, int8_t *z)
{
    const int32_t s = f->scales > 1 ? n : 0, mult = f->mult[s], shift = f->shift[s];
    y[n] = br_requant_once_i8(a, mult, shift, f->zero, f->lo, f->hi);
    if (z) {
        z[n] = br_requant_once_i8(b, mult, shift, f->zero, f->lo, f->hi);
    }
}

/* All filters times the two columns: to y[0 .. count) from the first, to z from the second if z is given. */
BR_OWN void br_columns_i8(const br_filters f, const uint8_t *columns, int8_t *y, int8_t *z)
{
    const int8_t *w = f.w;
    for (int32_t n = 0; n < f.count; n += 2) {
        const int two = n + 1 < f.count;
        int32_t acc[4] = {f.b[n], f.b[n], f.b[n + two], f.b[n + two]};
        w = br_tile_2x2(acc, w, columns, f.fours);
        br_put(&f, n, acc[0], acc[1], y, z);
        if (two) {
            br_put(&f, n + 1, acc[2], acc[3], y, z);
        }
    }
}

/* Two taps of four channels, c the first: acc[i] += taps[0][c + i] * w + taps[1][c + i] * w'. w holds the weights of
 * channels 0 and 1 for the first tap, then for the second, then those of channels 2 and 3 (packs.tap_pairs). */
BR_OWN void br_pair_of_taps(int32_t *acc, const int8_t *const *taps, int32_t c, const int8_t **w)
{
    uint32_t a = br_word(taps[0] + c), b = br_word(taps[1] + c), low, high, v, u;
    __asm__ volatile(
        "ldrd %[v], %[u], [%[w]], #8\n\t"
        "pkhbt %[low], %[a], %[b], lsl #16\n\t" /* channels 0 and 1 of both taps */
        "pkhtb %[high], %[b], %[a], asr #16\n\t" /* channels 2 and 3 */
        "sxtb16 %[a], %[low]\n\t"
        "sxtb16 %[b], %[v]\n\t"
        "smlad %[s0], %[a], %[b], %[s0]\n\t"
        "sxtb16 %[a], %[low], ror #8\n\t"
        "sxtb16 %[b], %[v], ror #8\n\t"
        "smlad %[s1], %[a], %[b], %[s1]\n\t"
        "sxtb16 %[a], %[high]\n\t"
        "sxtb16 %[b], %[u]\n\t"
        "smlad %[s2], %[a], %[b], %[s2]\n\t"
        "sxtb16 %[a], %[high], ror #8\n\t"
        "sxtb16 %[b], %[u], ror #8\n\t"
        "smlad %[s3], %[a], %[b], %[s3]"
        : [s0] "+r"(acc[0]), [s1] "+r"(acc[1]), [s2] "+r"(acc[2]), [s3] "+r"(acc[3]), [w] "+r"(*w), [a] "+&r"(a),
          [b] "+&r"(b), [low] "=&r"(low), [high] "=&r"(high), [v] "=&r"(v), [u] "=&r"(u)
        :
        : "memory"); /* keeps the compiler from loading all taps at once and spilling them */
}
