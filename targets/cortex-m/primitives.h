/* What the plain Cortex-M is good at: no vectors, but a product's upper word is all that a scale needs. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BR_OWN static inline __attribute__((unused))

BR_OWN int8_t br_clamped_i8(int32_t v, int32_t lo, int32_t hi)
{
    return (int8_t)(v < lo ? lo : v > hi ? hi : v);
}

/* v / 2^shift, rounded half away from zero. */
BR_OWN int32_t br_half_away(int32_t v, int32_t shift)
{
    return shift > 0 ? (v + (v >> 31) + (1 << shift >> 1)) >> shift : v;
}

/* An operand of a sum as TFLite scales it: v * 2^20 * mult / 2^31, rounded half up, then / 2^shift; |v| < 2^8. */
BR_OWN int32_t br_operand_tflite(int32_t v, int32_t mult, int32_t shift)
{
    return br_half_away(v * (mult >> 16) * 32 + ((v * (mult & 0xffff) + (1 << 10)) >> 11), shift);
}

/* sum * mult / 2^31, rounded half up; |sum| < 2^28, mult >= 0. */
BR_OWN int32_t br_sum_tflite(int32_t sum, int32_t mult)
{
#ifdef __ARM_ARCH_6M__ /* has no long multiplication: four short ones */
    const int32_t high = sum >> 16, upper = mult >> 16, lower = mult & 0xffff;
    const uint32_t low = (uint32_t)sum & 0xffff;
    const uint32_t middle = low * (uint32_t)upper + (low * (uint32_t)lower >> 16); /* below 2^31: 2^30 less fits */
    return 2 * (high * upper) + (((int32_t)(middle - (1U << 30) + (1U << 14)) + high * lower) >> 15) + (1 << 15);
#else
    const int64_t product = (int64_t)(2 * sum) * mult;
    return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
#endif
}

/* acc * mult / 2^31, rounded half up; mult >= 0, and the result fits. */
BR_OWN int32_t br_doubled_upper_word(int32_t acc, int32_t mult)
{
#ifdef __ARM_ARCH_6M__ /* where acc is short, four products with a byte of mult will do */
    if ((uint32_t)acc + (1U << 23) < 1U << 24) {
        int32_t v = acc * (mult & 255) >> 8;
        v = (v + acc * (mult >> 8 & 255)) >> 8;
        v = (v + acc * (mult >> 16 & 255)) >> 8;
        return (v + acc * (mult >> 24) + 64) >> 7;
    }
#endif
    return (int32_t)(((int64_t)acc * mult + ((int64_t)1 << 30)) >> 31);
}

#define BR_HAS_REQUANT_TFLITE_I8
/* See fixed.h. */
static __attribute__((noinline, unused)) int8_t br_requant_tflite_i8(int32_t acc, int32_t mult, int8_t shift, int32_t zero,
                                                                     int32_t lo, int32_t hi)
{
    int32_t v;
    if (shift > 31) {
        v = br_doubled_upper_word(acc, mult);
        v = (((v + (v >> 31)) >> (shift - 32)) + 1) >> 1;
    } else {
        v = (int32_t)(((int64_t)(int32_t)((uint32_t)acc << (31 - shift)) * mult + ((int64_t)1 << 30)) >> 31);
    }
    return br_clamped_i8(v + zero, lo, hi);
}

/* acc * mult / 2^shift, rounded once, for shifts below 33; held near int8. */
static __attribute__((noinline, unused)) int32_t br_scaled_wide(int32_t acc, int32_t mult, int32_t shift)
{
    const int64_t v = ((int64_t)acc * mult + ((int64_t)1 << (shift - 1))) >> shift;
    return v > 1024 ? 1024 : v < -1024 ? -1024 : (int32_t)v;
}

/* The upper word of a * b; b >= 0. */
BR_OWN int32_t br_upper_word(int32_t a, int32_t b)
{
#ifdef __ARM_ARCH_6M__
    if ((uint32_t)a + (1U << 23) < 1U << 24) {
        int32_t v = a * (b & 255) >> 8;
        v = (v + a * (b >> 8 & 255)) >> 8;
        v = (v + a * (b >> 16 & 255)) >> 8;
        return (v + a * (b >> 24)) >> 8;
    }
#endif
    return (int32_t)((int64_t)a * b >> 32);
}

/* What a product leaves of its sum, before the last shift, in each rounding profile. */
BR_OWN int32_t br_scaled_once(int32_t sum, int32_t mult)
{
    return br_upper_word(sum, mult);
}

BR_OWN int32_t br_scaled_tflite(int32_t sum, int32_t mult)
{
    const int32_t v = br_doubled_upper_word(sum, mult);
    return v + (v >> 31);
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
    return br_clamped_i8(v + zero, lo, hi);
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

#define BR_HAS_WINDOW_I8
/* See fixed.h: short runs of bytes are copied one by one. */
static __attribute__((noinline, unused)) void br_window_i8(int8_t *to, const int8_t *x, int32_t h, int32_t w, int32_t pixel,
        int32_t count, int32_t top, int32_t left, int32_t kh, int32_t kw, int32_t dh, int32_t dw, int8_t fill)
{
    const int whole = left >= 0 && left + kw <= w && dw == 1 && count == pixel;
    const int32_t taps = whole ? 1 : kw, run = whole ? kw * count : count;
    for (int32_t ky = 0; ky < kh; ky++, top += dh) {
        const int inside = top >= 0 && top < h;
        for (int32_t kx = 0, ix = left; kx < taps; kx++, ix += dw) {
            int8_t *const end = to + run;
            const int there = inside && ix >= 0 && ix < w;
            const int8_t *from = x + (there ? (top * w + ix) * pixel : 0);
            if (run > 16) {
                if (there) {
                    memcpy(to, from, (size_t)run);
                } else {
                    memset(to, fill, (size_t)run);
                }
                to = end;
            } else if (there) {
                do {
                    *to++ = *from++;
                } while (to != end);
            } else {
                do {
                    *to++ = fill;
                } while (to != end);
            }
        }
    }
}

/* --- Tiles: filters times columns, a column being a window of a picture or a row of a matrix --- */

/* Columns lie in scratch a word (four terms) of each in turn, so that one pointer walks them all. A core without
 * loads of signed bytes at an offset gets them as x + 128; what that adds, 128 times the sum of a column, is taken
 * off where the column's sums start. */
#ifdef __ARM_ARCH_6M__
#define BR_ABREAST 3
#define BR_FLIP 0x80808080U
#else
#define BR_ABREAST 4
#define BR_FLIP 0U
#endif

typedef uint32_t __attribute__((may_alias)) br_word;

typedef struct br_tile {
    const int32_t *w;            /* 0: the stream of filters, see packs/streams.py */
    const uint8_t *x, *end;      /* 4: the columns, and where they end */
    int32_t filters;             /* 12: how many are left */
    int8_t *y[4];                /* 16: where each column's next result goes */
    int32_t zero;                /* 32: the zero point of y */
    int32_t sum[8];              /* 36: sums that the short finish cannot take */
    int32_t start[BR_ABREAST];   /* 68: what each column's sums start with */
} br_tile;

/* Where windows of a picture x [h,w,c] lie. */
typedef struct br_windows {
    const int8_t *x;
    int32_t h, w, c, kh, kw, oh, ow, sh, sw, pt, pl, dh, dw;
    int8_t fill;                 /* what a pixel outside is made of */
} br_windows;

/* Words of a column to `to`, every BR_ABREAST of them; the sum of their bytes, where it is needed. */
static __attribute__((noinline, unused)) uint32_t br_put_words(uint8_t *to, const int8_t *from, int32_t words)
{
    uint32_t total = 0;
#ifdef __ARM_ARCH_6M__
    while (words > 0) {
        uint32_t even = 0, odd = 0;                       /* two sums of 16 bits each */
        const int apart = ((uintptr_t)from & 3U) != 0;
        for (int32_t left = words < 256 ? words : 256; left > 0; left--, words--, from += 4, to += 4 * BR_ABREAST) {
            uint32_t word;
            if (apart) {
                memcpy(&word, from, 4);
            } else {
                word = *(const br_word *)(const void *)from;
            }
            word ^= BR_FLIP;
            *(br_word *)(void *)to = word;
            even += word & 0xff00ffU;
            odd += word >> 8 & 0xff00ffU;
        }
        total += (even & 0xffff) + (even >> 16) + (odd & 0xffff) + (odd >> 16);
    }
#else
    for (; words > 0; words--, from += 4, to += 4 * BR_ABREAST) {
        memcpy(to, from, 4);
    }
#endif
    return total;
}

/* The same with every byte `fill`. */
BR_OWN uint32_t br_put_fill(uint8_t *to, int8_t fill, int32_t words)
{
    const uint32_t byte = (uint8_t)fill ^ (BR_FLIP & 0xff);
    for (int32_t i = 0; i < words; i++, to += 4 * BR_ABREAST) {
        *(br_word *)(void *)to = byte * 0x1010101U;
    }
    return byte * 4 * (uint32_t)words;
}

/* A column from a row of x: its `length` bytes may end within a word, and then pass through `spare`. */
BR_OWN uint32_t br_put_row(uint8_t *to, const int8_t *x, int32_t length, int8_t *spare)
{
    if (length % 4 != 0) {
        memset(spare + length / 4 * 4, (int)(int8_t)BR_FLIP, 4);
        memcpy(spare, x, (size_t)length);
        x = spare;
    }
    return br_put_words(to, x, (length + 3) / 4);
}

/* A column from the window whose first tap is at (top, left); pixels must be whole words. */
static __attribute__((noinline, unused)) uint32_t br_put_window(uint8_t *to, const br_windows *p, int32_t top, int32_t left)
{
    const int32_t words = p->c / 4, step = words * 4 * BR_ABREAST;
    uint32_t total = 0;
    for (int32_t ky = 0; ky < p->kh; ky++, top += p->dh) {
        const int inside = top >= 0 && top < p->h;
        const int8_t *const row = p->x + (inside ? top * p->w * p->c : 0);
        if (inside && p->dw == 1 && left >= 0 && left + p->kw <= p->w) {
            total += br_put_words(to, row + left * p->c, words * p->kw);
            to += step * p->kw;
        } else {
            int32_t ix = left;
            for (int32_t kx = 0; kx < p->kw; kx++, ix += p->dw, to += step) {
                if (inside && ix >= 0 && ix < p->w) {
                    total += br_put_words(to, row + ix * p->c, words);
                } else {
                    total += br_put_fill(to, p->fill, words);
                }
            }
        }
    }
    return total;
}

/* One group of columns, the first `live` of them real, times all filters; y has `filters` numbers for each column. */
BR_OWN void br_tile_group(void (*tile)(br_tile *), br_tile *t, int32_t live, const int32_t *w, int8_t *y, int32_t filters)
{
    for (int32_t c = 0; c < BR_ABREAST; c++) {
        t->y[c] = c < live ? y + c * filters : y; /* the first is written last */
    }
    t->w = w;
    t->filters = filters;
    tile(t);
}

/* x [rows,k] times all filters -> y [rows,filters] */
BR_OWN void br_tile_rows(void (*tile)(br_tile *), const int8_t *x, const int32_t *w, int8_t *y, int32_t rows, int32_t k,
                         int32_t filters, int32_t zero, uint8_t *scratch)
{
    const int32_t words = (k + 3) / 4;
    br_tile t = {.x = scratch, .end = scratch + words * 4 * BR_ABREAST, .zero = zero};
    for (; rows > 0; rows -= BR_ABREAST, y += BR_ABREAST * filters) {
        const int32_t live = rows < BR_ABREAST ? rows : BR_ABREAST;
        for (int32_t c = 0; c < live; c++, x += k) {
            t.start[c] = (int32_t)(br_put_row(scratch + 4 * c, x, k, (int8_t *)scratch + words * 4 * BR_ABREAST) * -128U);
        }
        br_tile_group(tile, &t, live, w, y, filters);
    }
}

/* `pictures` pictures' windows times all filters -> y [pictures,oh,ow,filters]. `gather`, unless NULL, makes a column of
 * a window that lies inside: from its first byte on, rows being so many bytes apart. */
BR_OWN void br_tile_windows(void (*tile)(br_tile *), uint32_t (*gather)(uint8_t *, const int8_t *, int32_t), br_windows p,
                            const int32_t *w, int8_t *y, int32_t pictures, int32_t filters, int32_t zero, uint8_t *scratch)
{
    const int32_t k = p.kh * p.kw * p.c, words = (k + 3) / 4;
    int8_t *const window = (int8_t *)scratch + words * 4 * BR_ABREAST, *const spare = window + k;
    br_tile t = {.x = scratch, .end = scratch + words * 4 * BR_ABREAST, .zero = zero};
    int32_t live = 0;
    for (int32_t n = 0; n < pictures; n++, p.x += p.h * p.w * p.c) {
        for (int32_t oy = 0; oy < p.oh; oy++) {
            for (int32_t ox = 0; ox < p.ow; ox++) {
                const int32_t top = oy * p.sh - p.pt, left = ox * p.sw - p.pl;
                uint32_t sum;
                if (gather != NULL && top >= 0 && top + (p.kh - 1) * p.dh < p.h && left >= 0 && left + p.kw <= p.w) {
                    sum = gather(scratch + 4 * live, p.x + (top * p.w + left) * p.c, p.dh * p.w * p.c);
                } else if (p.c % 4 == 0) {
                    sum = br_put_window(scratch + 4 * live, &p, top, left);
                } else {
                    br_window_i8(window, p.x, p.h, p.w, p.c, p.c, top, left, p.kh, p.kw, p.dh, p.dw, p.fill);
                    memset(spare, (int)(int8_t)BR_FLIP, (size_t)(words * 4 - k));
                    sum = br_put_words(scratch + 4 * live, window, words);
                }
                t.start[live] = (int32_t)(sum * -128U);
                live++;
                if (live == BR_ABREAST || (n + 1 == pictures && oy + 1 == p.oh && ox + 1 == p.ow)) {
                    br_tile_group(tile, &t, live, w, y, filters);
                    y += live * filters;
                    live = 0;
                }
            }
        }
    }
}

/* --- Depthwise layers: the rows of a picture that are looked at lie in scratch, with their borders --- */

/* Row `iy` of p->x to `to`: `wide` pixels, p->pl of them before the picture. */
static __attribute__((noinline, unused)) void br_put_bordered_row(int8_t *to, const br_windows *p, int32_t iy, int32_t wide)
{
    const int32_t room = (wide - p->pl) * p->c, have = p->w * p->c, inside = room < have ? room : have;
    if (iy < 0 || iy >= p->h) {
        memset(to, p->fill, (size_t)(wide * p->c));
        return;
    }
    memset(to, p->fill, (size_t)(p->pl * p->c));
    to += p->pl * p->c;
    memcpy(to, p->x + iy * have, (size_t)inside);
    memset(to + inside, p->fill, (size_t)(room - inside));
}

/* The three rows that row `oy` of the result is made of, as pointers in `row`; `next` is the first that scratch has
 * not yet. */
BR_OWN void br_three_rows(const int8_t **row, int8_t *scratch, const br_windows *p, int32_t oy, int32_t *next)
{
    const int32_t wide = (p->ow - 1) * p->sw + 3, top = oy * p->sh - p->pt;
    int32_t iy = *next > top ? *next : top;
    for (; iy < top + 3; iy++) {
        br_put_bordered_row(scratch + (iy + p->pt) % 3 * wide * p->c, p, iy, wide);
    }
    *next = iy;
    for (int32_t k = 0; k < 3; k++) {
        row[k] = scratch + (top + k + p->pt) % 3 * wide * p->c;
    }
}
