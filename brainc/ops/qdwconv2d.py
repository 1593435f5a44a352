"""Depthwise convolution on int8, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import requant
from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, both_rounds, int8_layer, offsets
from brainc.ops._windows import WINDOW, window_result, windows


@op(
    "x[B,H,W,C] w[KH,KW,C]c b[C]c mult[S]c shift[S]c -> y[B,OH,OW,C]",
    macs="B*OH*OW*C*KH*KW",
    shared=WINDOW,
    result=window_result,
)
def qdwconv2d(
    x: Array,
    w: Array,
    b: Array,
    mult: Array,
    shift: Array,
    *,
    zx: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
    **window: Ints,
) -> Array:
    """y = requant(sum of window * w + b), channel by channel; the border is zx, -zx * sum(w) is in b."""
    cols = windows(x, w.shape[:2], zx, **window).astype(np.int32)
    acc = (cols * w.astype(np.int32)).sum(axis=(3, 4), dtype=np.int64) + b
    return requant(acc, mult, shift, zy, lo, hi, round)


@qdwconv2d.cases
def _cases(rng: Rng) -> Cases:
    for kernel, shape, geometry in WINDOWS:
        c = shape[3]
        for count in (c, 1):
            operands = int8_layer(rng, shape, (*kernel, c), c, count)
            yield from both_rounds(operands, {**geometry, **offsets(rng), "lo": -100})
