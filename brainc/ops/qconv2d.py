"""Two-dimensional convolution on int8, exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.numerics import requant
from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import WINDOWS, Geometry, int8s, offsets, scales
from brainc.ops.conv2d import grouped, spatial_result, windows


@op("x[B,H,W,C] w[F,KH,KW,CG]c b[F]c mult[S]c shift[S]c -> y[B,OH,OW,F]", macs="B*OH*OW*F*KH*KW*CG")
def qconv2d(
    x: Array,
    w: Array,
    b: Array,
    mult: Array,
    shift: Array,
    *,
    strides: Ints = (1, 1),
    pads: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    group: int = 1,
    zx: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant(sum of window * w + b); the border is zx.

    The offset -zx * sum(w) is already in b (int32), so inner loops multiply plain int8 by int8.
    S is 1 (one scale) or F (one a channel). Needs an accumulator within int32.
    """
    # exact in float64: |acc| < 2^31 and every partial sum is an integer below 2^53
    cols = windows(x, w.shape[1:3], strides, pads, dilations, zx).astype(np.float64)
    acc = grouped(cols, w.astype(np.float64), group).astype(np.int64) + b
    return requant(acc, mult, shift, zy, lo, hi)


@qconv2d.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    w = ins[1]
    assert w is not None
    return spatial_result(ins, (w.shape[1], w.shape[2]), w.shape[0], attrs)


@qconv2d.cases
def _cases(rng: Rng) -> Cases:
    for (kh, kw), shape, geometry in WINDOWS:
        for filters, per_channel in ((5, True), (8, False)):
            yield _one(rng, shape, (filters, kh, kw, shape[3]), per_channel, geometry)
    yield _one(
        rng,
        (1, 6, 6, 4),
        (6, 2, 3, 2),
        True,
        {"group": 2, "strides": (2, 1), "pads": (0, 1, 1, 0), "lo": -20},
    )
    yield _one(rng, (1, 6, 5, 16), (8, 3, 3, 16), True, {"pads": (1, 1, 1, 1), "hi": 90})
    yield _one(rng, (1, 5, 3, 32), (12, 1, 1, 32), True, {})
    yield _one(rng, (1, 9, 6, 1), (16, 4, 4, 1), True, {"strides": (2, 2), "pads": (1, 1, 2, 1)})
    yield _one(rng, (1, 12, 9, 1), (8, 10, 4, 1), True, {"strides": (2, 2), "pads": (4, 1, 5, 1), "lo": -10})


def _one(
    rng: Rng,
    shape: Ints,
    filters: Ints,
    per_channel: bool,
    attrs: Geometry,
) -> Case:
    w = int8s(rng, filters, -127)
    b = rng.integers(-20000, 20000, filters[0]).astype(np.int32)
    mult, shift = scales(rng, filters[0] if per_channel else 1, w[0].size)
    return [int8s(rng, shape), w, b, mult, shift], {**attrs, **offsets(rng)}
