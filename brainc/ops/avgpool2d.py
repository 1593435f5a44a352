"""Mean of a window, real numbers, channels last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op
from brainc.ops._samples import WINDOWS, floats
from brainc.ops.conv2d import spatial_result, windows


def counts(
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Array:
    """How many cells of each window of x [B,H,W,C] lie inside the picture: [1,OH,OW,1]."""
    inside = np.ones((1, shape[1], shape[2], 1), np.int32)
    return np.asarray(windows(inside, kernel, strides, pads, dilations, 0).sum(axis=(3, 4)))


@op("x[B,H,W,C] -> y[B,OH,OW,C]")
def avgpool2d(
    x: Array,
    *,
    kernel: Ints,
    strides: Ints = (1, 1),
    pads: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    count_pads: int = 0,
) -> Array:
    """y = mean of the window's cells inside the picture (`count_pads`: divided by the whole window)."""
    total = windows(x, kernel, strides, pads, dilations, 0).sum(axis=(3, 4), dtype=np.float64)
    n = (
        kernel[0] * kernel[1]
        if count_pads
        else np.maximum(counts(x.shape, kernel, strides, pads, dilations), 1)
    )
    return np.asarray(total / n).astype(x.dtype)


@avgpool2d.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    kernel = ints(attrs["kernel"])
    assert ins[0] is not None
    return spatial_result(ins, (kernel[0], kernel[1]), ins[0].shape[3], attrs)


@avgpool2d.cases
def _cases(rng: Rng) -> Cases:
    for kernel, shape, geometry in WINDOWS:
        for count_pads in (0, 1):
            yield [floats(rng, shape)], {**geometry, "kernel": kernel, "count_pads": count_pads}
