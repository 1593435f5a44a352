"""Depthwise convolution (one filter a channel), real numbers, channels last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import WINDOWS, floats
from brainc.ops.conv2d import spatial_result, windows


@op("x[B,H,W,C] w[KH,KW,C]c b[C]c? -> y[B,OH,OW,C]", macs="B*OH*OW*C*KH*KW")
def dwconv2d(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    strides: Ints = (1, 1),
    pads: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    lo: float = -np.inf,
    hi: float = np.inf,
) -> Array:
    """y = clamp(sum of window * w + b, lo, hi), channel by channel; the border is 0."""
    y = (windows(x, w.shape[:2], strides, pads, dilations, 0) * w).sum(axis=(3, 4), dtype=x.dtype)
    return np.asarray(np.clip(y if b is None else y + b, lo, hi)).astype(x.dtype)


@dwconv2d.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    w = ins[1]
    assert w is not None
    return spatial_result(ins, (w.shape[0], w.shape[1]), w.shape[2], attrs)


@dwconv2d.cases
def _cases(rng: Rng) -> Cases:
    for (kh, kw), shape, geometry in WINDOWS:
        c = shape[3]
        yield [floats(rng, shape), floats(rng, (kh, kw, c)), floats(rng, (c,))], {**geometry, "lo": 0.0}
