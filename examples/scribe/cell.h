/* One number of the recurrent cell, with the rounding that the compiled brain does, and its gradient straight through
 * that rounding. cell.c (a processor) and cell.cu (a graphics card) loop over it.
 *
 *     r, z = sigmoid(reset), sigmoid(keep);  opened = r h;  n = tanh(sum);  h' = n + z (h - n)
 *
 * A step of 0 leaves its numbers unrounded.
 */
#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define ONE static __device__ inline
#else
#define ONE static inline
#endif

/* Steps of the int8 numbers inside: of what goes into the sigmoids, of what goes into tanh, of what comes out of tanh
 * and of the product r h, of the state. */
typedef struct {
    float gates, sum, fresh, state;
} steps_t;

/* Which sums do not fit into an int8: no gradient goes through those. */
enum { RESET = 1, KEEP = 2, SUM = 4 };

ONE float on_grid(float x, float step) {
    return step == 0.0f ? x : fminf(fmaxf(rintf(x / step), -128.0f), 127.0f) * step;
}

ONE uint8_t clips(float x, float step, uint8_t which) {
    return step == 0.0f || fabsf(x) < 127.5f * step ? 0 : which;
}

/* An answer in 0 .. 1 lies on a grid twice as fine as one in -1 .. 1. */
ONE float gate(float x, const steps_t *s) {
    const float y = 1.0f / (1.0f + expf(-on_grid(x, s->gates))), step = 0.5f * s->fresh;
    return step == 0.0f ? y : fminf(rintf(y / step), 255.0f) * step;
}

ONE float candidate(float sum, const steps_t *s) {
    const float e = expf(-2.0f * on_grid(sum, s->sum));
    return on_grid((1.0f - e) / (1.0f + e), s->fresh);
}

ONE float next_state(float n, float z, float h, const steps_t *s) {
    const float y = n + z * (h - n);
    return s->state == 0.0f ? y : fminf(rintf(y / s->state) * s->state, 1.0f - s->state);
}

/* From d, the slope of h', to those of the three sums; d_opened is the slope of r h. */
ONE float back_sum(float d, float z, float n, uint8_t clipped) {
    return clipped & SUM ? 0.0f : d * (1.0f - z) * (1.0f - n * n);
}

ONE float back_keep(float d, float h, float z, float n, uint8_t clipped) {
    return clipped & KEEP ? 0.0f : d * (h - n) * z * (1.0f - z);
}

ONE float back_reset(float d_opened, float h, float r, uint8_t clipped) {
    return clipped & RESET ? 0.0f : d_opened * h * r * (1.0f - r);
}
