"""Two-dimensional convolution on int8 (or int16, with int8 weights), exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import requant
from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, Geometry, both_rounds, int8_layer, int8s, int16_layers, offsets
from brainc.ops._windows import WINDOW, grouped, window_result, windows
from brainc.ops.qadd import residuals, with_residual

# x, w: groups, depths that kernels unroll by, pictures of one channel
MORE: tuple[tuple[Ints, Ints, Geometry], ...] = (
    ((1, 6, 6, 4), (6, 2, 3, 2), {"group": 2, "strides": (2, 1), "pads": (0, 1, 1, 0), "lo": -20}),
    ((1, 6, 5, 16), (8, 3, 3, 16), {"pads": (1, 1, 1, 1), "hi": 90}),
    ((1, 5, 3, 32), (12, 1, 1, 32), {}),
    ((1, 9, 6, 1), (16, 4, 4, 1), {"strides": (2, 2), "pads": (1, 1, 2, 1)}),
    ((1, 12, 9, 1), (8, 10, 4, 1), {"strides": (2, 2), "pads": (4, 1, 5, 1), "lo": -10}),
)


@op(
    "x[B,H,W,C] w[F,KH,KW,CG]c b[F]c mult[S]c shift[S]c r[B,OH,OW,F]? -> y[B,OH,OW,F]",
    macs="B*OH*OW*F*KH*KW*CG",
    shared=WINDOW,
    result=window_result,
)
def qconv2d(
    x: Array,
    w: Array,
    b: Array,
    mult: Array,
    shift: Array,
    r: Array | None = None,
    *,
    group: int = 1,
    zx: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
    residual: Ints = (),
    **window: Ints,
) -> Array:
    """y = requant(sum of window * w + b); the border is zx. An r is added as `qadd` adds, see RESIDUAL there.

    The offset -zx * sum(w) is already in b (int32), so inner loops multiply plain int8 by int8.
    S is 1 (one scale) or F (one a channel). Needs an accumulator within int32, or 48 bits for int16 rounded once.
    """
    # exact in float64: every partial sum is an integer below 2^53
    cols = windows(x, w.shape[1:3], zx, **window).astype(np.float64)
    acc = grouped(cols, w.astype(np.float64), group).astype(np.int64) + b
    return with_residual(requant(acc, mult, shift, zy, lo, hi, round, x.dtype), r, residual, round)


@qconv2d.cases
def _cases(rng: Rng) -> Cases:
    for kernel, shape, geometry in WINDOWS:
        for filters, count in ((5, 5), (8, 1)):
            operands = int8_layer(rng, shape, (filters, *kernel, shape[3]), filters, count)
            yield from both_rounds(operands, {**geometry, **offsets(rng)})
    for x, w, attrs in MORE:
        yield from both_rounds(int8_layer(rng, x, w, w[0], w[0]), {**attrs, **offsets(rng)})
    for x, w, attrs in MORE[:2]:
        yield from int16_layers(rng, x, w, {**attrs, "zx": 0, "zy": 0, "lo": -32768, "hi": 9000})
    for add, profile in residuals():
        layer, attrs = int8_layer(rng, (1, 5, 6, 8), (7, 3, 3, 8), 7, 7), {"pads": (1, 1, 1, 1), **offsets(rng)}
        yield [*layer, int8s(rng, (1, 5, 6, 7))], {**attrs, "residual": add, "round": profile}
