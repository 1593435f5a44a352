/* A stretch of training of the recurrent cell on a graphics card: one block a text, from its first symbol to its last.
 *
 * T symbols of B texts, H states each; H is compiled in, and the weights stay in registers: four threads share a state.
 * `parts` holds each token's share of the sums [reset H | keep H | new H]. cell.py compiles this file.
 */
#include "cell.h"

enum { Q = (H + 3) / 4, THREADS = 4 * H }; /* a quarter of a row */

typedef struct {
    const int64_t *tokens;             /* [T,B] */
    const float *parts, *gates, *news; /* [38,3H], [2H,H], [H,H] */
    float *r, *z, *opened, *n;         /* [T,B,H] */
    float *states;                     /* [T+1,B,H], the first of them given */
    uint8_t *clipped;                  /* [T,B,H] */
    int T, B;
    steps_t steps;
} stretch_t;

static __device__ float dot(const float *w, const float *x, int count) {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < count; k++) sum += w[k] * x[k];
    return sum;
}

/* tokens, parts, gates, news, states[0] -> r, z, opened, n, states[1..T], clipped */
static __global__ void __launch_bounds__(THREADS) forward_text(stretch_t s) {
    __shared__ float h[4 * Q], opened[4 * Q], gate_sums[2][2 * H], new_sums[4][H];
    const int t = threadIdx.x, b = blockIdx.x, j = t % H, quarter = t / H, row = t % (2 * H), half = t / (2 * H);
    float wg[2 * Q], wn[Q], z = 0.0f;
#pragma unroll
    for (int k = 0; k < 2 * Q; k++) wg[k] = half * 2 * Q + k < H ? s.gates[row * H + half * 2 * Q + k] : 0.0f;
#pragma unroll
    for (int k = 0; k < Q; k++) wn[k] = quarter * Q + k < H ? s.news[j * H + quarter * Q + k] : 0.0f;
    if (t < 4 * Q) {
        h[t] = t < H ? s.states[b * H + t] : 0.0f;
        opened[t] = 0.0f;
    }
    __syncthreads();
    for (int i = 0; i < s.T; i++) {
        const int at = (i * s.B + b) * H + t;
        const float *part = s.parts + s.tokens[i * s.B + b] * 3 * H;
        gate_sums[half][row] = dot(wg, h + half * 2 * Q, 2 * Q);
        __syncthreads();
        if (t < H) {
            const float reset = part[t] + gate_sums[0][t] + gate_sums[1][t];
            const float keep = part[H + t] + gate_sums[0][H + t] + gate_sums[1][H + t];
            const float r = gate(reset, &s.steps);
            z = gate(keep, &s.steps);
            s.r[at] = r, s.z[at] = z;
            s.opened[at] = opened[t] = on_grid(r * h[t], s.steps.fresh);
            s.clipped[at] = clips(reset, s.steps.gates, RESET) | clips(keep, s.steps.gates, KEEP);
        }
        __syncthreads();
        new_sums[quarter][j] = dot(wn, opened + quarter * Q, Q);
        __syncthreads();
        if (t < H) {
            const float sum = part[2 * H + t] + new_sums[0][t] + new_sums[1][t] + new_sums[2][t] + new_sums[3][t];
            const float n = candidate(sum, &s.steps);
            s.n[at] = n;
            s.states[at + s.B * H] = h[t] = next_state(n, z, h[t], &s.steps);
            s.clipped[at] |= clips(sum, s.steps.sum, SUM);
        }
        __syncthreads();
    }
}

/* The way back: slopes[T,B,H] of the states -> d_gates[T,B,2H], d_sum[T,B,H] */
static __global__ void __launch_bounds__(THREADS)
    backward_text(stretch_t s, const float *slopes, float *d_gates, float *d_sum) {
    __shared__ float dg[8 * Q], ds[4 * Q], sums[4][H];
    const int t = threadIdx.x, b = blockIdx.x, j = t % H, quarter = t / H;
    float wg[2 * Q], wn[Q], slope = 0.0f;
#pragma unroll
    for (int k = 0; k < 2 * Q; k++) wg[k] = quarter * 2 * Q + k < 2 * H ? s.gates[(quarter * 2 * Q + k) * H + j] : 0.0f;
#pragma unroll
    for (int k = 0; k < Q; k++) wn[k] = quarter * Q + k < H ? s.news[(quarter * Q + k) * H + j] : 0.0f;
    for (int k = t; k < 8 * Q; k += THREADS) dg[k] = 0.0f;
    if (t < 4 * Q) ds[t] = 0.0f;
    __syncthreads();
    for (int i = s.T - 1; i >= 0; i--) {
        const int at = (i * s.B + b) * H + t, gates_at = (i * s.B + b) * 2 * H + t;
        if (t < H) {
            const float h = s.states[at], z = s.z[at], n = s.n[at];
            slope += slopes[at];
            d_sum[at] = ds[t] = back_sum(slope, z, n, s.clipped[at]);
            d_gates[gates_at + H] = dg[H + t] = back_keep(slope, h, z, n, s.clipped[at]);
            slope *= z;
        }
        __syncthreads();
        sums[quarter][j] = dot(wn, ds + quarter * Q, Q);
        __syncthreads();
        if (t < H) {
            const float d_opened = sums[0][t] + sums[1][t] + sums[2][t] + sums[3][t];
            d_gates[gates_at] = dg[t] = back_reset(d_opened, s.states[at], s.r[at], s.clipped[at]);
            slope += d_opened * s.r[at];
        }
        __syncthreads();
        sums[quarter][j] = dot(wg, dg + quarter * 2 * Q, 2 * Q);
        __syncthreads();
        if (t < H) slope += sums[0][t] + sums[1][t] + sums[2][t] + sums[3][t];
    }
}

extern "C" int forward_stretch(const stretch_t *s, cudaStream_t stream) {
    forward_text<<<s->B, THREADS, 0, stream>>>(*s);
    return (int)cudaGetLastError();
}

extern "C" int backward_stretch(const stretch_t *s, const float *slopes, float *d_gates, float *d_sum,
                                cudaStream_t stream) {
    backward_text<<<s->B, THREADS, 0, stream>>>(*s, slopes, d_gates, d_sum);
    return (int)cudaGetLastError();
}
