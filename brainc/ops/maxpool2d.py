"""Largest of a window, any element type, channels last."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, floats, int8s, int16s
from brainc.ops._windows import WINDOW, window_result, windows


@op("x[B,H,W,C] -> y[B,OH,OW,C]", shared=WINDOW, result=window_result)
def maxpool2d(x: Array, *, kernel: Ints, **window: Ints) -> Array:
    """y = max of the window; the border never wins."""
    lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
    return np.asarray(windows(x, kernel, lowest, **window).max(axis=(3, 4)))


@maxpool2d.cases
def _cases(rng: Rng) -> Cases:
    for kernel, shape, geometry in WINDOWS:
        for make in (floats, int8s, int16s):
            yield [make(rng, shape)], {**geometry, "kernel": kernel}
