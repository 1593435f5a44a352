"""Two-dimensional convolution, real numbers, channels last."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, floats
from brainc.ops._windows import WINDOW, grouped, window_result, windows


@op("x[B,H,W,C] w[F,KH,KW,CG]c b[F]c? -> y[B,OH,OW,F]", macs="B*OH*OW*F*KH*KW*CG", shared=WINDOW, result=window_result)
def conv2d(
    x: Array, w: Array, b: Array | None, *, group: int = 1, lo: float = -np.inf, hi: float = np.inf, **window: Ints
) -> Array:
    """y = clamp(sum of window * w + b, lo, hi); the border is 0."""
    y = grouped(windows(x, w.shape[1:3], 0, **window), w, group)
    return np.clip(y if b is None else y + b, lo, hi).astype(x.dtype)


@conv2d.cases
def _cases(rng: Rng) -> Cases:
    for (kh, kw), shape, geometry in WINDOWS:
        w = floats(rng, (5, kh, kw, shape[3]))
        yield [floats(rng, shape), w, floats(rng, (5,))], {**geometry, "hi": 4.0}
    w, b = floats(rng, (6, 2, 3, 2)), floats(rng, (6,))
    yield [floats(rng, (1, 6, 6, 4)), w, b], {"group": 2, "strides": (2, 1), "pads": (0, 1, 1, 0), "lo": 0.0}
