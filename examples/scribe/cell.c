/* The arithmetic between the matrix products of a training step: the recurrent cell with the rounding that the
 * compiled brain does, and its gradient straight through that rounding.
 *
 * B texts are read side by side, H states each; rows of parts, products and slopes are [reset H | update H | new H].
 * train.py compiles this file: cc -O3 -march=native -ffast-math -shared -fPIC cell.c -o cell.so -lm
 */
#include <math.h>
#include <stdint.h>

/* Steps of the int8 numbers inside: of what goes into the sigmoids, of the token's and the state's part of the new
 * state, of the latter times the reset gate, and of what goes into tanh. */
typedef struct {
    float gates, token, kept, scaled, sum;
} steps_t;

/* Which roundings also clipped: no gradient goes through those. */
enum { RESET = 1, UPDATE = 2, KEPT = 4, SCALED = 8, SUM = 16, TOKEN = 32 };

static inline float on_grid(float x, float step) {
    return fminf(fmaxf(rintf(x / step), -128.0f), 127.0f) * step;
}

static inline uint8_t clips(float x, float step, uint8_t which) {
    return fabsf(x) < 127.5f * step ? 0 : which;
}

static inline float gate(float x) {
    return fminf(rintf(256.0f / (1.0f + expf(-x))), 255.0f) * (1.0f / 256);
}

/* One character of every text.
 * tokens[B], parts[38,3H] = each token's share with biases, products[B,3H] = U h, bias[H] of U's new part, h[B,H]
 * -> r, z, kept, n, next [B,H], clipped[B,H] */
void forward(int B, int H, const steps_t *s, const int64_t *tokens, const float *parts, const float *products,
             const float *bias, const float *h, float *restrict r, float *restrict z, float *restrict kept,
             float *restrict n, float *restrict next, uint8_t *restrict clipped) {
    for (int b = 0; b < B; b++) {
        const float *part = parts + tokens[b] * 3 * H, *product = products + b * 3 * H;
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            const float reset = part[j] + product[j], update = part[H + j] + product[H + j];
            const float token = part[2 * H + j], old = product[2 * H + j] + bias[j];
            r[i] = gate(on_grid(reset, s->gates));
            z[i] = gate(on_grid(update, s->gates));
            kept[i] = on_grid(old, s->kept);
            const float scaled = r[i] * kept[i];
            const float sum = on_grid(token, s->token) + on_grid(scaled, s->scaled);
            const float e = expf(-2.0f * on_grid(sum, s->sum));
            n[i] = on_grid((1.0f - e) / (1.0f + e), 1.0f / 128);
            next[i] = on_grid(n[i] + z[i] * (h[i] - n[i]), 1.0f / 128);
            clipped[i] = clips(reset, s->gates, RESET) | clips(update, s->gates, UPDATE) | clips(old, s->kept, KEPT) |
                         clips(scaled, s->scaled, SCALED) | clips(sum, s->sum, SUM) | clips(token, s->token, TOKEN);
        }
    }
}

/* The way back: slope[B,H] of the next state -> d_products[B,3H], slope[B,H] of h without what comes through U,
 * d_parts[38,3H] and d_bias[H] (both added to). */
void backward(int B, int H, const int64_t *tokens, const float *h, const float *r, const float *z, const float *kept,
              const float *n, const uint8_t *clipped, float *restrict slope, float *restrict d_products,
              float *restrict d_parts, float *restrict d_bias) {
    for (int b = 0; b < B; b++) {
        float *restrict out = d_products + b * 3 * H, *restrict part = d_parts + tokens[b] * 3 * H;
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            const float d = slope[i];
            const int c = clipped[i];
            const float d_sum = c & SUM ? 0.0f : d * (1.0f - z[i]) * (1.0f - n[i] * n[i]);
            const float d_scaled = c & SCALED ? 0.0f : d_sum;
            const float d_reset = c & RESET ? 0.0f : d_scaled * kept[i] * r[i] * (1.0f - r[i]);
            const float d_update = c & UPDATE ? 0.0f : d * (h[i] - n[i]) * z[i] * (1.0f - z[i]);
            const float d_kept = c & KEPT ? 0.0f : d_scaled * r[i];
            out[j] = d_reset, out[H + j] = d_update, out[2 * H + j] = d_kept;
            part[j] += d_reset, part[H + j] += d_update, part[2 * H + j] += c & TOKEN ? 0.0f : d_sum;
            d_bias[j] += d_kept;
            slope[i] = d * z[i];
        }
    }
}
