"""Depthwise convolution (one filter a channel), real numbers, channels last."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, floats
from brainc.ops._windows import WINDOW, window_result, windows


@op("x[B,H,W,C] w[KH,KW,C]c b[C]c? -> y[B,OH,OW,C]", macs="B*OH*OW*C*KH*KW", shared=WINDOW, result=window_result)
def dwconv2d(x: Array, w: Array, b: Array | None, *, lo: float = -np.inf, hi: float = np.inf, **window: Ints) -> Array:
    """y = clamp(sum of window * w + b, lo, hi), channel by channel; the border is 0."""
    y = (windows(x, w.shape[:2], 0, **window) * w).sum(axis=(3, 4), dtype=x.dtype)
    return np.asarray(np.clip(y if b is None else y + b, lo, hi)).astype(x.dtype)


@dwconv2d.cases
def _cases(rng: Rng) -> Cases:
    for (kh, kw), shape, geometry in WINDOWS:
        c = shape[3]
        yield [floats(rng, shape), floats(rng, (kh, kw, c)), floats(rng, (c,))], {**geometry, "lo": 0.0}
