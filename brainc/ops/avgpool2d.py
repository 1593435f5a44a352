"""Mean of a window, real numbers, channels last."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, floats
from brainc.ops._windows import WINDOW, counts, window_result, windows


@op("x[B,H,W,C] -> y[B,OH,OW,C]", shared=WINDOW, result=window_result)
def avgpool2d(x: Array, *, kernel: Ints, count_pads: int = 0, **window: Ints) -> Array:
    """y = mean of the window's cells inside the picture (`count_pads`: divided by the whole window)."""
    total = windows(x, kernel, 0, **window).sum(axis=(3, 4), dtype=np.float64)
    whole = kernel[0] * kernel[1]
    return np.asarray(total / (whole if count_pads else counts(x.shape, kernel, **window).clip(1))).astype(x.dtype)


@avgpool2d.cases
def _cases(rng: Rng) -> Cases:
    for kernel, shape, geometry in WINDOWS:
        for count_pads in (0, 1):
            yield [floats(rng, shape)], {**geometry, "kernel": kernel, "count_pads": count_pads}
