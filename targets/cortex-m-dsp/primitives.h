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
#define BR_APART __attribute__((noinline)) /* inlined, its stack would lie under that of all other layers */
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

/* Up to three rows of x, n bytes each, widened into the columns of a group. */
BR_APART static __attribute__((unused)) void br_widen_rows(uint8_t *columns, const int8_t *x, int32_t n, int32_t rows)
{
    for (; rows > 0; rows--, columns += 8, x += n) {
        br_widen_of_three(columns, x, n);
    }
}

/* Three rows at once, n bytes each and whole fours. */
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

/* The last of what a tile makes of an accumulator: n bits are shifted out, one more rounds; zero is twice the zero point
 * and one. */
BR_OWN int8_t br_finish(int32_t v, int32_t n, int32_t zero, int32_t lo, int32_t hi)
{
    v = ((v >> n) + zero) >> 1;
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
