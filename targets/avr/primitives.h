/* --- The machine's own versions of fixed.h, and what its kernels are made of --- */

/* acc * mult / 2^shift to 32 bits, for all that fixed.h allows; exact within +-2^30, held near there beyond. Rounded
 * half up; with `twice` (shift above 31) as TFLite rounds: to 31 fractional bits half up, the rest half away from zero.
 *
 * All sixteen products of bytes, column by column, lowest first, make 64 bits; a negative acc was taken for acc + 2^32. */
#define BR_TIMES(a, m, low, middle, high) \
    "mul %" a "[a], %" m "[m]\n\t add " low ", r0\n\t adc " middle ", r1\n\t adc " high ", %[o]\n\t"
#define BR_ASR "asr %D[h]\n\t ror %C[h]\n\t ror %B[h]\n\t ror %A[h]\n\t"
static __attribute__((noinline, unused)) int32_t br_scaled(int32_t acc, int32_t mult, int8_t shift, uint8_t twice)
{
    uint32_t low;
    int32_t high;
    uint8_t zero;
    __asm__ volatile(
        "clr %[o]\n\t"
        "mul %A[a], %A[m]\n\t"
        "movw %A[l], r0\n\t"
        "clr %C[l]\n\t"
        "clr %D[l]\n\t"
        "movw %A[h], %C[l]\n\t"
        "movw %C[h], %C[l]\n\t"
        BR_TIMES("B", "A", "%B[l]", "%C[l]", "%D[l]") BR_TIMES("A", "B", "%B[l]", "%C[l]", "%D[l]")
        BR_TIMES("C", "A", "%C[l]", "%D[l]", "%A[h]") BR_TIMES("B", "B", "%C[l]", "%D[l]", "%A[h]")
        BR_TIMES("A", "C", "%C[l]", "%D[l]", "%A[h]")
        BR_TIMES("D", "A", "%D[l]", "%A[h]", "%B[h]") BR_TIMES("C", "B", "%D[l]", "%A[h]", "%B[h]")
        BR_TIMES("B", "C", "%D[l]", "%A[h]", "%B[h]") BR_TIMES("A", "D", "%D[l]", "%A[h]", "%B[h]")
        BR_TIMES("D", "B", "%A[h]", "%B[h]", "%C[h]") BR_TIMES("C", "C", "%A[h]", "%B[h]", "%C[h]")
        BR_TIMES("B", "D", "%A[h]", "%B[h]", "%C[h]")
        BR_TIMES("D", "C", "%B[h]", "%C[h]", "%D[h]") BR_TIMES("C", "D", "%B[h]", "%C[h]", "%D[h]")
        "mul %D[a], %D[m]\n\t"
        "add %C[h], r0\n\t"
        "adc %D[h], r1\n\t"
        "sbrs %D[a], 7\n\t"
        "rjmp 1f\n\t"
        "sub %A[h], %A[m]\n\t"
        "sbc %B[h], %B[m]\n\t"
        "sbc %C[h], %C[m]\n\t"
        "sbc %D[h], %D[m]\n\t"
        "1: cpi %[n], 33\n\t"
        "brsh 4f\n\t"
        /* shifts up to 32: bits move into the upper half, which holds at its ends */
        "tst %[twice]\n\t"
        "brne 5f\n\t"
        "2: lsl %A[l]\n\t rol %B[l]\n\t rol %C[l]\n\t rol %D[l]\n\t"
        "rol %A[h]\n\t rol %B[h]\n\t rol %C[h]\n\t rol %D[h]\n\t"
        "brvs 3f\n\t"
        "inc %[n]\n\t"
        "cpi %[n], 33\n\t"
        "brne 2b\n\t"
        "rjmp 9f\n\t"
        "3: lsl %D[h]\n\t"
        "sbc %D[h], %D[h]\n\t"
        "subi %D[h], 0x80\n\t"
        "rjmp 9f\n\t"
        /* shifts above: what matters is the product / 2^32, or rounded / 2^31 and less one where it is negative */
        "4: tst %[twice]\n\t"
        "breq 6f\n\t"
        "5: lsl %D[l]\n\t"
        "rol %A[h]\n\t rol %B[h]\n\t rol %C[h]\n\t rol %D[h]\n\t"
        "lsl %D[l]\n\t"
        "adc %A[h], %[o]\n\t adc %B[h], %[o]\n\t adc %C[h], %[o]\n\t adc %D[h], %[o]\n\t"
        "mov r0, %D[h]\n\t"
        "lsl r0\n\t"
        "sbc %A[h], %[o]\n\t sbc %B[h], %[o]\n\t sbc %C[h], %[o]\n\t sbc %D[h], %[o]\n\t"
        "inc %[n]\n\t"
        "6: subi %[n], 33\n\t"
        "7: subi %[n], 8\n\t"
        "brcs 8f\n\t"
        "mov %A[h], %B[h]\n\t"
        "mov %B[h], %C[h]\n\t"
        "mov %C[h], %D[h]\n\t"
        "lsl %D[h]\n\t"
        "sbc %D[h], %D[h]\n\t"
        "rjmp 7b\n\t"
        "8: subi %[n], 0xf8\n\t"
        "breq 9f\n\t"
        "0: " BR_ASR
        "dec %[n]\n\t"
        "brne 0b\n\t"
        "9: " BR_ASR /* one more, rounded */
        "adc %A[h], %[o]\n\t adc %B[h], %[o]\n\t adc %C[h], %[o]\n\t adc %D[h], %[o]\n\t"
        "clr r1"
        : [l] "=&r"(low), [h] "=&d"(high), [o] "=&r"(zero), [n] "+&d"(shift)
        : [a] "r"(acc), [m] "r"(mult), [twice] "r"(twice)
        : "r0");
    return high;
}

#define BR_HAS_SCALE_TFLITE
/* See fixed.h. */
static __attribute__((noinline, unused)) int32_t br_scale_tflite(int32_t v, int32_t mult, int8_t shift)
{
    if (shift < 32) {
        return br_scaled((int32_t)((uint32_t)v << (31 - shift)), mult, 31, 0);
    }
    return br_scaled(v, mult, shift, 1);
}

/* v + zero, held in lo .. hi. */
static __attribute__((noinline, unused)) int8_t br_put(int32_t v, int16_t zero, int16_t lo, int16_t hi)
{
    const int16_t high = (int16_t)(v >> 16);
    int16_t low = (int16_t)v;
    if (high != (low < 0 ? -1 : 0)) {
        low = high < 0 ? INT16_MIN : INT16_MAX;
    }
    lo -= zero;
    hi -= zero;
    low = low < lo ? lo : low > hi ? hi : low;
    return (int8_t)(low + zero);
}

#define BR_HAS_REQUANT_ONCE_I8
#define br_requant_once_i8(acc, mult, shift, zero, lo, hi) \
    br_put(br_scaled(acc, mult, shift, 0), (int16_t)(zero), (int16_t)(lo), (int16_t)(hi))

#define BR_HAS_REQUANT_TFLITE_I8
#define br_requant_tflite_i8(acc, mult, shift, zero, lo, hi) \
    br_put(br_scale_tflite(acc, mult, shift), (int16_t)(zero), (int16_t)(lo), (int16_t)(hi))

/* acc * mult / 2^shift, rounded half up but ties to even. That it is a tie, half a step below `up`, can only be where the
 * lowest 32 bits say so too. */
static __attribute__((noinline, unused)) int32_t br_scaled_even(int32_t acc, int32_t mult, int8_t shift)
{
    const int32_t up = br_scaled(acc, mult, shift, 0);
    const uint32_t low = shift > 32 ? 0 : (2 * (uint32_t)up - 1) << (shift - 1);
    if ((uint32_t)acc * (uint32_t)mult != low || up == -br_scaled(-acc, mult, shift, 0)) {
        return up;
    }
    return up & ~(int32_t)1;
}

#define BR_HAS_REQUANT_EVEN_I8
#define br_requant_even_i8(acc, mult, shift, zero, lo, hi) \
    br_put(br_scaled_even(acc, mult, shift), (int16_t)(zero), (int16_t)(lo), (int16_t)(hi))

#define BR_HAS_ADD_I8
/* See fixed.h. Whole bytes of the shift are moves. */
static __attribute__((noinline, unused)) int8_t br_add_i8(int8_t a, int8_t b, int32_t za, int32_t zb, int32_t ma,
                                                          int32_t mb, int8_t shift, int32_t zero, int32_t lo,
                                                          int32_t hi)
{
    int32_t v = (int16_t)(a - (int16_t)za) * ma + (int16_t)(b - (int16_t)zb) * mb;
    uint8_t left = (uint8_t)(shift - 1);
    for (; left >= 8; left = (uint8_t)(left - 8)) {
        v >>= 8;
    }
    for (; left > 0; left--) {
        v >>= 1;
    }
    v = ((v + 1) >> 1) + zero;
    return (int8_t)(v < lo ? lo : v > hi ? hi : v);
}

#define BR_HAS_DOT_I8
/* See fixed.h. Up to 511 products fit 24 bits. */
static __attribute__((noinline, unused)) int32_t br_dot_i8(const int8_t *x, BR_CP(int8_t) w, uint16_t n)
{
    int32_t sum = 0;
    while (n > 0) {
        uint16_t some = n < 504 ? n : 504, z = BR_FAR(w);
        __int24 part = 0;
        int8_t a, b;
        n -= some;
        w = BR_CP_ADD(w, int8_t, some);
        __asm__ volatile(
            "1: ld %[a], X+\n\t" BR_LPM " %[b], Z+\n\t"
            "muls %[a], %[b]\n\t"
            "sbc %[b], %[b]\n\t" /* the carry is the sign of the product */
            "add %A[sum], r0\n\t"
            "adc %B[sum], r1\n\t"
            "adc %C[sum], %[b]\n\t"
            "sbiw %[n], 1\n\t"
            "brne 1b\n\t"
            "clr r1"
            : [sum] "+&r"(part), [x] "+&x"(x), [z] "+&z"(z), [n] "+&w"(some), [a] "=&d"(a), [b] "=&d"(b)
            :
            : "r0", "memory");
        sum += part;
    }
    BR_NEAR();
    return sum;
}

#define BR_HAS_SUM_I8
/* See fixed.h; n is not 0. */
static __attribute__((noinline, unused)) int32_t br_sum_i8(const int8_t *x, uint16_t n, uint16_t step)
{
    __int24 sum = 0;
    int8_t v, sign;
    __asm__ volatile(
        "1: ld %[v], X\n\t"
        "add %A[x], %A[step]\n\t"
        "adc %B[x], %B[step]\n\t"
        "mov %[sign], %[v]\n\t"
        "lsl %[sign]\n\t"
        "sbc %[sign], %[sign]\n\t"
        "add %A[sum], %[v]\n\t"
        "adc %B[sum], %[sign]\n\t"
        "adc %C[sum], %[sign]\n\t"
        "sbiw %[n], 1\n\t"
        "brne 1b"
        : [sum] "+&r"(sum), [x] "+&x"(x), [n] "+&w"(n), [v] "=&r"(v), [sign] "=&r"(sign)
        : [step] "r"(step)
        : "memory");
    return sum;
}

/* Copies n bytes, the first n % 4 one by one; returns where the copy ends. */
static inline __attribute__((unused)) int8_t *br_move(int8_t *to, const int8_t *from, uint16_t n)
{
    uint8_t ones = n & 3;
    uint16_t fours = n >> 2;
    __asm__ volatile(
        "rjmp 2f\n\t"
        "1: ld r0, X+\n\t"
        "st Z+, r0\n\t"
        "2: dec %[ones]\n\t"
        "brpl 1b\n\t"
        "rjmp 4f\n\t"
        "3: ld r0, X+\n\t st Z+, r0\n\t ld r0, X+\n\t st Z+, r0\n\t"
        "ld r0, X+\n\t st Z+, r0\n\t ld r0, X+\n\t st Z+, r0\n\t"
        "4: subi %A[fours], 1\n\t"
        "sbci %B[fours], 0\n\t"
        "brcc 3b"
        : [to] "+&z"(to), [from] "+&x"(from), [ones] "+&r"(ones), [fours] "+&d"(fours)
        :
        : "r0", "memory");
    return to;
}

#define BR_HAS_WINDOW_I8
/* See fixed.h. Of a row of pixels side by side, some at either end may be outside. */
static inline __attribute__((unused, always_inline)) void
br_window_i8(int8_t *to, const int8_t *x, uint16_t h, uint16_t w, uint16_t pixel, uint16_t count, int16_t top,
             int16_t left, uint16_t kh, uint16_t kw, uint16_t dh, uint16_t dw, int8_t fill)
{
    const uint8_t side_by_side = dw == 1 && count == pixel;
    const int16_t over = left + (int16_t)kw - (int16_t)w;
    uint16_t before = left < 0 ? (uint16_t)-left : 0, after = over > 0 ? (uint16_t)over : 0;
    if (before + after > kw) {
        before = kw;
        after = 0;
    }
    const uint16_t lead = before * count, tail = after * count, run = (kw - before - after) * count;
    const uint16_t wide = w * pixel;
    const int8_t *row = x + ((uint16_t)top * w + (uint16_t)left) * pixel;
    for (; kh > 0; kh--, top += (int16_t)dh, row += dh * wide) {
        if (top < 0 || top >= (int16_t)h) {
            for (uint16_t i = kw * count; i > 0; i--) {
                *to++ = fill;
            }
        } else if (side_by_side) {
            const int8_t *from = row + lead;
            for (uint16_t i = lead; i > 0; i--) {
                *to++ = fill;
            }
            to = br_move(to, from, run);
            for (uint16_t i = tail; i > 0; i--) {
                *to++ = fill;
            }
        } else {
            const int8_t *from = row;
            int16_t column = left;
            for (uint16_t k = kw; k > 0; k--, column += (int16_t)dw, from += dw * pixel) {
                const uint8_t inside = column >= 0 && column < (int16_t)w;
                for (uint16_t i = 0; i < count; i++) {
                    *to++ = inside ? from[i] : fill;
                }
            }
        }
    }
}

/* --- What tiles of rows are told (targets/avr/kernels/_parts); they find it by these places --- */

/* Z that many bytes on; r21 may be lost, r25 is zero. */
#ifdef __AVR_HAVE_ELPM__
#define BR_FORTH(bytes) "adiw r30, " bytes "\n\t in r21, 0x3b\n\t adc r21, r25\n\t out 0x3b, r21\n\t"
#else
#define BR_FORTH(bytes) "adiw r30, " bytes "\n\t"
#endif

typedef struct br_tile {
    const uint8_t *x;   /*  0  columns, a number of each, then their next numbers */
    void *y;            /*  2  where results go; the tile moves it on */
    uint16_t blocks;    /*  4  how many times its rows; the tile counts it down */
    uint8_t ones;       /*  6  terms to go one by one, */
    uint8_t groups;     /*  7  and groups of terms: so many, */
    uint8_t rounds;     /*  8  in so many rounds, each but the first of 256 */
    uint8_t idle;       /*  9  columns whose results are not wanted */
    uint16_t step;      /* 10  from the result of a column to that of the next one */
    uint8_t first[9];   /* 12  what the sums of each column begin with, three bytes a column */
    int16_t twice;      /* 21  two zero points and one */
    int8_t lo, hi;      /* 23  the least and the most of a result */
    uint8_t early;      /* 25  whether a sum below zero makes it the least */
    int16_t back;       /* 26  from the result after the last column's to the next row's */
} br_tile;

/* A tile for columns of n numbers, taken in groups of `unroll`. */
static inline __attribute__((unused)) void br_tile_for(br_tile *t, uint16_t n, uint8_t unroll, int32_t zero, int32_t lo,
                                                       int32_t hi)
{
    t->ones = (uint8_t)(n % unroll);
    t->groups = (uint8_t)(n / unroll);
    t->rounds = (uint8_t)((n / unroll + 255) >> 8);
    t->twice = (int16_t)(2 * (int16_t)zero + 1);
    t->lo = (int8_t)lo;
    t->hi = (int8_t)hi;
    t->early = lo >= zero;
}

/* What the sums of a column begin with, -128 times the sum of its numbers: three bytes. */
static inline __attribute__((unused)) void br_tile_first(uint8_t *first, __int24 sum)
{
    uint8_t low = 0;
    __asm__("com %C[sum]\n\t com %B[sum]\n\t neg %A[sum]\n\t sbci %B[sum], 0xff\n\t sbci %C[sum], 0xff\n\t"
            "lsr %C[sum]\n\t ror %B[sum]\n\t ror %A[sum]\n\t ror %[low]"
            : [sum] "+d"(sum), [low] "+r"(low));
    first[0] = low;
    first[1] = (uint8_t)sum;
    first[2] = (uint8_t)((uint16_t)sum >> 8);
}

/* One column x, whose numbers have this sum. */
static inline __attribute__((unused)) void br_tile_column(br_tile *t, const uint8_t *x, __int24 sum)
{
    t->x = x;
    br_tile_first(t->first, sum);
}

/* n numbers v, `step` apart; the sum of all but `less` of them. */
static __attribute__((noinline, unused)) __int24 br_fill(uint8_t *to, uint16_t n, uint8_t step, uint8_t v, uint16_t less)
{
    const __int24 sum = (__int24)((uint32_t)v * (uint16_t)(n - less));
    uint16_t fours = (n + 3) >> 2;
    const uint8_t first = (uint8_t)(4 - (n & 3)) & 3;
    __asm__ volatile(
        "sbrs %[first], 1\n\t rjmp 2f\n\t sbrs %[first], 0\n\t rjmp 5f\n\t rjmp 6f\n"
        "2: sbrc %[first], 0\n\t rjmp 4f\n"
        "3: st Z, %[v]\n\t add %A[to], %[step]\n\t adc %B[to], r1\n"
        "4: st Z, %[v]\n\t add %A[to], %[step]\n\t adc %B[to], r1\n"
        "5: st Z, %[v]\n\t add %A[to], %[step]\n\t adc %B[to], r1\n"
        "6: st Z, %[v]\n\t add %A[to], %[step]\n\t adc %B[to], r1\n\t"
        "sbiw %[fours], 1\n\t brne 3b"
        : [to] "+&z"(to), [fours] "+&w"(fours)
        : [step] "r"(step), [v] "r"(v), [first] "r"(first)
        : "memory");
    return sum;
}
