/* The arithmetic between the matrix products of a training step, on a processor.
 *
 * B texts are read side by side, H states each; `parts` holds each token's share of the sums [reset H | keep H | new H].
 * cell.py compiles this file.
 */
#include "cell.h"

/* tokens[B], parts[38,3H], products[B,2H] = U_gates h, h[B,H] -> r, z, opened = r h [B,H], clipped[B,H] */
void open_gates(int B, int H, const steps_t *s, const int64_t *tokens, const float *parts, const float *products,
                const float *h, float *restrict r, float *restrict z, float *restrict opened,
                uint8_t *restrict clipped) {
    for (int b = 0; b < B; b++) {
        const float *part = parts + tokens[b] * 3 * H, *product = products + b * 2 * H;
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            const float reset = part[j] + product[j], keep = part[H + j] + product[H + j];
            r[i] = gate(reset, s), z[i] = gate(keep, s);
            opened[i] = on_grid(r[i] * h[i], s->fresh);
            clipped[i] = clips(reset, s->gates, RESET) | clips(keep, s->gates, KEEP);
        }
    }
}

/* products[B,H] = U_new opened -> n, next [B,H]; clipped is added to */
void mix(int B, int H, const steps_t *s, const int64_t *tokens, const float *parts, const float *products,
         const float *h, const float *z, float *restrict n, float *restrict next, uint8_t *restrict clipped) {
    for (int b = 0; b < B; b++) {
        const float *part = parts + tokens[b] * 3 * H + 2 * H;
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            const float sum = part[j] + products[i];
            n[i] = candidate(sum, s);
            next[i] = next_state(n[i], z[i], h[i], s);
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
            d_sum[i] = back_sum(slope[i], z[i], n[i], clipped[i]);
            d_gates[b * 2 * H + H + j] = back_keep(slope[i], h[i], z[i], n[i], clipped[i]);
            slope[i] *= z[i];
        }
    }
}

/* The way back through the gates: d_opened[B,H] -> d_gates (its first half); slope is added to */
void gates_back(int B, int H, const float *h, const float *r, const uint8_t *clipped, const float *d_opened,
                float *restrict slope, float *restrict d_gates) {
    for (int b = 0; b < B; b++) {
        for (int j = 0; j < H; j++) {
            const int i = b * H + j;
            d_gates[b * 2 * H + j] = back_reset(d_opened[i], h[i], r[i], clipped[i]);
            slope[i] += d_opened[i] * r[i];
        }
    }
}
