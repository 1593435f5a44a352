"""Largest of a window, any element type, channels last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op
from brainc.ops._samples import WINDOWS, floats, int8s
from brainc.ops.conv2d import spatial_result, windows


@op("x[B,H,W,C] -> y[B,OH,OW,C]")
def maxpool2d(
    x: Array,
    *,
    kernel: Ints,
    strides: Ints = (1, 1),
    pads: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
) -> Array:
    """y = max of the window; the border never wins."""
    lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
    return np.asarray(windows(x, kernel, strides, pads, dilations, lowest).max(axis=(3, 4)))


@maxpool2d.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    kernel = ints(attrs["kernel"])
    assert ins[0] is not None
    return spatial_result(ins, (kernel[0], kernel[1]), ins[0].shape[3], attrs)


@maxpool2d.cases
def _cases(rng: Rng) -> Cases:
    for kernel, shape, geometry in WINDOWS:
        yield [floats(rng, shape)], {**geometry, "kernel": kernel}
        yield [int8s(rng, shape)], {**geometry, "kernel": kernel}
