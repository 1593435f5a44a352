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

/* As many columns as are multiplied at once lie in scratch, their terms taking turns, so that one pointer walks them all:
 * four columns, a word (four terms) of each; or, where only unsigned bytes can be loaded at an offset and all numbers are
 * 128 larger, two columns, a word holding a term of each. What 128 adds, 128 times the sum of a column, is taken off
 * again in `start`. */
#ifdef __ARM_ARCH_6M__
#define BR_ABREAST 2
#else
#define BR_ABREAST 4
#endif

typedef uint32_t __attribute__((may_alias)) br_word;

typedef struct br_tile {
    const int32_t *w;            /* 0: the stream of filters, see packs/streams.py */
    const uint8_t *x, *end;      /* 4: the columns, and where they end */
    int32_t filters;             /* 12: how many are left */
    int8_t *y[4];                /* 16: where each column's next result goes */
    int32_t zero;                /* 32: the zero point of y */
    int32_t sum[8];              /* 36: sums that the short finish cannot take */
    int32_t start[2];            /* 68: what is added to a column's sums */
} br_tile;

/* Where windows of a picture x [h,w,c] lie. */
typedef struct br_windows {
    const int8_t *x;
    int32_t h, w, c, kh, kw, oh, ow, sh, sw, pt, pl, dh, dw;
    int8_t fill;                 /* what a pixel outside is made of */
} br_windows;

/* One of them: its picture, and its first tap. */
typedef struct br_window {
    const int8_t *x;
    int32_t top, left;
} br_window;

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

/* Where a window begins in its picture; NULL if some of it lies outside, or its rows are not one piece each. */
BR_OWN const int8_t *br_whole(const br_windows *p, const br_window *at)
{
    const int inside = at->top >= 0 && at->top + (p->kh - 1) * p->dh < p->h && at->left >= 0 && at->left + p->kw <= p->w;
    return inside && p->dw == 1 ? at->x + (at->top * p->w + at->left) * p->c : NULL;
}

/* Where a tap of a window is; `outside` if it lies there. */
BR_OWN const int8_t *br_tap(const br_windows *p, const br_window *at, int32_t ky, int32_t kx, const int8_t *outside)
{
    const int32_t iy = at->top + ky * p->dh, ix = at->left + kx * p->dw;
    return iy >= 0 && iy < p->h && ix >= 0 && ix < p->w ? at->x + (iy * p->w + ix) * p->c : outside;
}

#ifdef __ARM_ARCH_6M__
/* Numbers of two columns to `to`; their sums are taken off in t->start. */
static __attribute__((noinline, unused)) uint8_t *br_put_pair(br_tile *t, uint8_t *to, const int8_t *first,
                                                              const int8_t *second, int32_t bytes)
{
    while (bytes > 0) {
        const int32_t some = bytes < 256 ? bytes : 256;   /* their sums fit 16 bits each */
        const int8_t *const end = first + some;
        br_word *word = (br_word *)(void *)to;
        uint32_t both, sum = 0;
        for (; end - first >= 4; first += 4, second += 4, word += 4) {
#define BR_PUT(i)                                                                                        \
            both = ((uint32_t)(uint8_t)first[i] | (uint32_t)(uint8_t)second[i] << 16) ^ 0x800080U;       \
            word[i] = both;                                                                              \
            sum += both;
            BR_PUT(0) BR_PUT(1) BR_PUT(2) BR_PUT(3)
        }
        for (; first != end; first++, second++, word++) {
            BR_PUT(0)
        }
#undef BR_PUT
        t->start[0] -= (int32_t)((sum & 0xffff) * 128);
        t->start[1] -= (int32_t)((sum >> 16) * 128);
        to += 4 * some;
        bytes -= some;
    }
    return to;
}

/* Two windows as columns; `outside` is a pixel that lies there. */
static __attribute__((noinline, unused)) void br_put_windows(br_tile *t, uint8_t *to, const br_windows *p,
                                                             const br_window *at, const int8_t *outside)
{
    const int8_t *first = br_whole(p, &at[0]), *second = br_whole(p, &at[1]);
    const int32_t row = p->dh * p->w * p->c;
    if (first != NULL && second != NULL) {
        for (int32_t ky = 0; ky < p->kh; ky++, first += row, second += row) {
            to = br_put_pair(t, to, first, second, p->kw * p->c);
        }
        return;
    }
    for (int32_t ky = 0; ky < p->kh; ky++) {
        for (int32_t kx = 0; kx < p->kw; kx++) {
            to = br_put_pair(t, to, br_tap(p, &at[0], ky, kx, outside), br_tap(p, &at[1], ky, kx, outside), p->c);
        }
    }
}
#else
/* Words of a column to `to`, every fourth of them. */
static __attribute__((noinline, unused)) void br_put_words(uint8_t *to, const int8_t *from, int32_t words)
{
    for (; words > 0; words--, from += 4, to += 16) {
        memcpy(to, from, 4);
    }
}

/* A window as a column; pixels must be whole words, and `outside` is one that lies there. */
static __attribute__((noinline, unused)) void br_put_window(uint8_t *to, const br_windows *p, const br_window *at,
                                                            const int8_t *outside)
{
    const int8_t *row = br_whole(p, at);
    for (int32_t ky = 0; ky < p->kh; ky++) {
        if (row != NULL) {
            br_put_words(to, row, p->kw * p->c / 4);
            row += p->dh * p->w * p->c;
            to += 4 * p->kw * p->c;
            continue;
        }
        for (int32_t kx = 0; kx < p->kw; kx++, to += 4 * p->c) {
            br_put_words(to, br_tap(p, at, ky, kx, outside), p->c / 4);
        }
    }
}

/* The same for any pixels. Windows that lie inside may have a `gather` of their own; others pass through `spare`. */
BR_OWN void br_put_column(void (*gather)(uint8_t *, const int8_t *, int32_t), uint8_t *to, const br_windows *p,
                          const br_window *at, int8_t *spare)
{
    if (gather != NULL && br_whole(p, at) != NULL) {
        gather(to, br_whole(p, at), p->dh * p->w * p->c);
    } else if (p->c % 4 == 0) {
        br_put_window(to, p, at, spare);
    } else {
        br_window_i8(spare, at->x, p->h, p->w, p->c, p->c, at->top, at->left, p->kh, p->kw, p->dh, p->dw, p->fill);
        br_put_words(to, spare, (p->kh * p->kw * p->c + 3) / 4);
    }
}
#endif

/* x [rows,k] times all filters -> y [rows,filters] */
BR_OWN void br_tile_rows(void (*tile)(br_tile *), const int8_t *x, const int32_t *w, int8_t *y, int32_t rows, int32_t k,
                         int32_t filters, int32_t zero, uint8_t *scratch)
{
    const int32_t words = (k + 3) / 4;
    br_tile t = {.x = scratch, .end = scratch + 16 * words, .zero = zero};
    for (; rows > 0; rows -= BR_ABREAST, y += BR_ABREAST * filters, x += BR_ABREAST * k) {
        const int32_t live = rows < BR_ABREAST ? rows : BR_ABREAST;
#ifdef __ARM_ARCH_6M__
        t.start[0] = t.start[1] = 0;
        (void)br_put_pair(&t, scratch, x, live > 1 ? x + k : x, k);
#else
        int8_t *const spare = (int8_t *)scratch + 16 * words; /* for rows that end within a word */
        for (int32_t c = 0; c < live; c++) {
            const int8_t *row = x + c * k;
            if (k % 4 != 0) {
                row = memcpy(spare, row, (size_t)k);
            }
            br_put_words(scratch + 4 * c, row, words);
        }
#endif
        br_tile_group(tile, &t, live, w, y, filters);
    }
}

/* `pictures` pictures' windows times all filters -> y [pictures,oh,ow,filters]. `gather`, unless NULL, makes a column of
 * a window that lies inside: from its first byte on, rows being so many bytes apart. */
BR_OWN void br_tile_windows(void (*tile)(br_tile *), void (*gather)(uint8_t *, const int8_t *, int32_t),
                            const br_windows *p, const int32_t *w, int8_t *y, int32_t pictures, int32_t filters,
                            int32_t zero, uint8_t *scratch)
{
    const int32_t k = p->kh * p->kw * p->c, words = (k + 3) / 4;
    int8_t *const spare = (int8_t *)scratch + 16 * words; /* a pixel outside, or a window of less than words */
    br_tile t = {.x = scratch, .end = scratch + 16 * words, .zero = zero};
    br_window at[BR_ABREAST] = {{NULL, 0, 0}};
    int32_t live = 0;
    memset(spare, p->fill, (size_t)p->c);
    for (int32_t n = 0; n < pictures; n++) {
        for (int32_t oy = 0; oy < p->oh; oy++) {
            for (int32_t ox = 0; ox < p->ow; ox++) {
                at[live].x = p->x + n * p->h * p->w * p->c;
                at[live].top = oy * p->sh - p->pt;
                at[live].left = ox * p->sw - p->pl;
                live++;
                if (live < BR_ABREAST && (n + 1 < pictures || oy + 1 < p->oh || ox + 1 < p->ow)) {
                    continue;
                }
#ifdef __ARM_ARCH_6M__
                (void)gather;
                at[1] = at[live - 1];
                t.start[0] = t.start[1] = 0;
                br_put_windows(&t, scratch, p, at, spare);
#else
                for (int32_t c = 0; c < live; c++) {
                    br_put_column(gather, scratch + 4 * c, p, &at[c], spare);
                }
#endif
                br_tile_group(tile, &t, live, w, y, filters);
                y += live * filters;
                live = 0;
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
