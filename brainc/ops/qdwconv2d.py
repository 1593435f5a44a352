"""Depthwise convolution on int8, exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.numerics import requant
from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import WINDOWS, int8s, offsets, scales
from brainc.ops.conv2d import spatial_result, windows


@op("x[B,H,W,C] w[KH,KW,C]c b[C]c mult[S]c shift[S]c -> y[B,OH,OW,C]", macs="B*OH*OW*C*KH*KW")
def qdwconv2d(
    x: Array,
    w: Array,
    b: Array,
    mult: Array,
    shift: Array,
    *,
    strides: Ints = (1, 1),
    pads: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    zx: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant(sum of window * w + b), channel by channel; the border is zx, -zx * sum(w) is in b."""
    cols = windows(x, w.shape[:2], strides, pads, dilations, zx).astype(np.int32)
    acc = (cols * w.astype(np.int32)).sum(axis=(3, 4), dtype=np.int64) + b
    return requant(acc, mult, shift, zy, lo, hi)


@qdwconv2d.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    w = ins[1]
    assert w is not None
    return spatial_result(ins, (w.shape[0], w.shape[1]), w.shape[2], attrs)


@qdwconv2d.cases
def _cases(rng: Rng) -> Cases:
    for (kh, kw), shape, geometry in WINDOWS:
        for per_channel in (True, False):
            c = shape[3]
            w, b = int8s(rng, (kh, kw, c), -127), rng.integers(-9000, 9000, c).astype(np.int32)
            mult, shift = scales(rng, c if per_channel else 1, kh * kw)
            yield [int8s(rng, shape), w, b, mult, shift], {**geometry, **offsets(rng), "lo": -100}
