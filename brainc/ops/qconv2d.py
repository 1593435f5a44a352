"""Two-dimensional convolution on int8, exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.numerics import requant
from brainc.ops import Case, op
from brainc.ops.conv2d import grouped, spatial_result, windows


@op("x[B,H,W,C] w[F,KH,KW,CG]c b[F]c mult[S]c shift[S]c -> y[B,OH,OW,F]", macs="B*OH*OW*F*KH*KW*CG")
def qconv2d(
    x: Array,
    w: Array,
    b: Array,
    mult: Array,
    shift: Array,
    *,
    strides: tuple[int, ...] = (1, 1),
    pads: tuple[int, ...] = (0, 0, 0, 0),
    dilations: tuple[int, ...] = (1, 1),
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
def _cases(rng: np.random.Generator) -> Iterator[Case]:
    cases: list[tuple[tuple[int, ...], tuple[int, ...], bool, dict[str, Attr]]] = [
        ((1, 5, 7, 3), (4, 3, 3, 3), True, {"pads": (1, 1, 1, 1)}),
        ((1, 6, 6, 4), (6, 2, 3, 2), False, {"group": 2, "strides": (2, 1), "pads": (0, 1, 1, 0), "lo": -20}),
        ((2, 7, 5, 1), (3, 3, 2, 1), True, {"dilations": (2, 1), "hi": 90}),
        ((1, 4, 4, 8), (5, 1, 1, 8), True, {"strides": (2, 2)}),
        ((1, 6, 5, 16), (8, 3, 3, 16), True, {"pads": (1, 1, 1, 1)}),
        ((1, 5, 3, 32), (12, 1, 1, 32), True, {}),
        ((1, 9, 6, 1), (16, 4, 4, 1), True, {"strides": (2, 2), "pads": (1, 1, 2, 1)}),
    ]
    for shape, filters, per_channel, attrs in cases:
        x = rng.integers(-128, 128, shape).astype(np.int8)
        w = rng.integers(-127, 128, filters).astype(np.int8)
        b = rng.integers(-20000, 20000, filters[0]).astype(np.int32)
        n = filters[0] if per_channel else 1
        mult = rng.integers(1 << 30, (1 << 31) - 1, n).astype(np.int32)
        shift = rng.integers(37, 41, n).astype(np.int8)
        zx, zy = int(rng.integers(-128, 128)), int(rng.integers(-30, 30))
        yield [x, w, b, mult, shift], {**attrs, "zx": zx, "zy": zy}
