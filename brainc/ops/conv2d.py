"""Two-dimensional convolution, real numbers, channels last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op
from brainc.ops._samples import WINDOWS, floats


def windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    fill: float,
) -> Array:
    """x [B,H,W,C] to its windows [B,OH,OW,KH,KW,C]; the border is `fill`. pads: top, left, bottom, right."""
    (kh, kw), (sh, sw), (dh, dw) = kernel, strides, dilations
    border = ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0))
    padded = np.pad(x, border, constant_values=np.asarray(fill, x.dtype))
    span = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
    view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(1, 2))
    view = view[:, ::sh, ::sw, :, ::dh, ::dw]
    return np.moveaxis(view, 3, 5)


def output_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """How many windows fit along one axis."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def spatial_result(
    ins: Sequence[TensorType | None], kernel: tuple[int, int], channels: int, attrs: Mapping[str, Attr]
) -> tuple[TensorType, ...]:
    """Result type of anything that slides a window over x [B,H,W,C]."""
    x = ins[0]
    assert x is not None
    s, p, d = (ints(attrs[k]) for k in ("strides", "pads", "dilations"))
    high = output_size(x.shape[1], kernel[0], s[0], p[0], p[2], d[0])
    wide = output_size(x.shape[2], kernel[1], s[1], p[1], p[3], d[1])
    return (TensorType(x.dtype, (x.shape[0], high, wide, channels)),)


def grouped(cols: Array, w: Array, group: int) -> Array:
    """Windows [B,OH,OW,KH,KW,C] times w [F,KH,KW,C/group]: [B,OH,OW,F]."""
    b, oh, ow, _, _, c = cols.shape
    f = w.shape[0]
    parts = []
    for g in range(group):
        piece = cols[..., g * (c // group) : (g + 1) * (c // group)].reshape(b * oh * ow, -1)
        parts.append(piece @ w[g * (f // group) : (g + 1) * (f // group)].reshape(f // group, -1).T)
    return np.concatenate(parts, axis=-1).reshape(b, oh, ow, f)


@op("x[B,H,W,C] w[F,KH,KW,CG]c b[F]c? -> y[B,OH,OW,F]", macs="B*OH*OW*F*KH*KW*CG")
def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    strides: Ints = (1, 1),
    pads: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    group: int = 1,
    lo: float = -np.inf,
    hi: float = np.inf,
) -> Array:
    """y = clamp(sum of window * w + b, lo, hi); pads are top, left, bottom, right; the border is 0."""
    y = grouped(windows(x, w.shape[1:3], strides, pads, dilations, 0), w, group)
    return np.clip(y if b is None else y + b, lo, hi).astype(x.dtype)


@conv2d.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    w = ins[1]
    assert w is not None
    return spatial_result(ins, (w.shape[1], w.shape[2]), w.shape[0], attrs)


@conv2d.cases
def _cases(rng: Rng) -> Cases:
    for (kh, kw), shape, geometry in WINDOWS:
        w = floats(rng, (5, kh, kw, shape[3]))
        yield [floats(rng, shape), w, floats(rng, (5,))], {**geometry, "hi": 4.0}
    w, b = floats(rng, (6, 2, 3, 2)), floats(rng, (6,))
    yield [floats(rng, (1, 6, 6, 4)), w, b], {"group": 2, "strides": (2, 1), "pads": (0, 1, 1, 0), "lo": 0.0}
