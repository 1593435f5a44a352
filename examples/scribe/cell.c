/* The arithmetic between the matrix products of a training step: the recurrent cell with the rounding that the
 * compiled brain does, and its gradient straight through that rounding.
 *
 * B texts are read side by side, H states each; `parts` holds each token's share of the sums [reset H | keep H | new H].
 * A step of 0 leaves its numbers unrounded. cell.py compiles this file.
 */
#include <math.h>
#include <stdint.h>

/* Steps of the int8 numbers inside: of what goes into the sigmoids, of what goes into tanh, and of all between -1 and 1. */
typedef struct {
    float gates, sum, state;
} steps_t;

/* Which sums do not fit into an int8: no gradient goes through those. */
enum { RESET = 1, KEEP = 2, SUM = 4 };

static inline float on_grid(float x, float step) {
    return step == 0.0f ? x : fminf(fmaxf(rintf(x / step), -128.0f), 127.0f) * step;
}

static inline uint8_t clips(float x, float step, uint8_t which) {
    return step == 0.0f || fabsf(x) < 127.5f * step ? 0 : which;
}

/* An answer in 0 .. 1 lies on a grid twice as fine as one in -1 .. 1. */
static inline float sigmoid(float x, float state) {
    const float y = 1.0f / (1.0f + expf(-x)), step = 0.5f * state;
    return step == 0.0f ? y : fminf(rintf(y / step), 255.0f) * step;
}

/* tokens[B], parts[38,3H], products[B,2H] = U_gates h, h[B,H] -> r, z, opened = r h [B,H], clipped[B,H] */
void open_gates(int B, int H, const steps_t *s, const int64_t *tokens, const float *parts, const float *products,
                const float *h, float *restrict r, float *restrict z, float *restrict opened,
                uint8_t *restrict clipped) {
    for (int b = 0; b < B; b++) {
        const float *part = parts + tokens[b] * 3 * H, *product = products + b * 2 * H;
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            const float reset = part[j] + product[j], keep = part[H + j] + product[H + j];
            r[i] = sigmoid(on_grid(reset, s->gates), s->state);
            z[i] = sigmoid(on_grid(keep, s->gates), s->state);
            opened[i] = on_grid(r[i] * h[i], s->state);
            clipped[i] = clips(reset, s->gates, RESET) | clips(keep, s->gates, KEEP);
        }
    }
}

/* products[B,H] = U_new opened -> n, next = n + z (h - n) [B,H]; clipped is added to */
void mix(int B, int H, const steps_t *s, const int64_t *tokens, const float *parts, const float *products,
         const float *h, const float *z, float *restrict n, float *restrict next, uint8_t *restrict clipped) {
    for (int b = 0; b < B; b++) {
        const float *part = parts + tokens[b] * 3 * H + 2 * H;
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            const float sum = part[j] + products[i], e = expf(-2.0f * on_grid(sum, s->sum));
            n[i] = on_grid((1.0f - e) / (1.0f + e), s->state);
            next[i] = on_grid(n[i] + z[i] * (h[i] - n[i]), s->state);
            clipped[i] |= clips(sum, s->sum, SUM);
        }
    }
}

/* The way back through mix: slope[B,H] of next -> d_sum[B,H], d_gates[B,2H] (its second half), slope of h through z */
void mix_back(int B, int H, const float *h, const float *z, const float *n, const uint8_t *clipped,
              float *restrict slope, float *restrict d_sum, float *restrict d_gates) {
    for (int b = 0; b < B; b++) {
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            const float d = slope[i];
            d_sum[i] = clipped[i] & SUM ? 0.0f : d * (1.0f - z[i]) * (1.0f - n[i] * n[i]);
            d_gates[b * 2 * H + H + j] = clipped[i] & KEEP ? 0.0f : d * (h[i] - n[i]) * z[i] * (1.0f - z[i]);
            slope[i] = d * z[i];
        }
    }
}

/* The way back through the gates: d_opened[B,H] -> d_gates (its first half); slope and d_parts[38,3H] are added to */
void gates_back(int B, int H, const int64_t *tokens, const float *h, const float *r, const uint8_t *clipped,
                const float *d_opened, const float *d_sum, float *restrict slope, float *restrict d_gates,
                float *restrict d_parts) {
    for (int b = 0; b < B; b++) {
        float *restrict part = d_parts + tokens[b] * 3 * H, *restrict gates = d_gates + b * 2 * H;
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            gates[j] = clipped[i] & RESET ? 0.0f : d_opened[i] * h[i] * r[i] * (1.0f - r[i]);
            slope[i] += d_opened[i] * r[i];
            part[j] += gates[j], part[H + j] += gates[H + j], part[2 * H + j] += d_sum[i];
        }
    }
}
