"""Mean of a window on int8 (or, as TFLite rounds, int16), exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import clamp, multiplier, requant_even, tflite_mean
from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, int8s, int16s, offsets
from brainc.ops._windows import WINDOW, counts, window_result, windows


@op("x[B,H,W,C] mult[S]c? shift[S]c? -> y[B,OH,OW,C]", shared=WINDOW, result=window_result)
def qavgpool2d(
    x: Array,
    mult: Array | None = None,
    shift: Array | None = None,
    *,
    kernel: Ints,
    zx: int = 0,
    zy: int = 0,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
    **window: Ints,
) -> Array:
    """y = requant_even(sum of (x - zx) over the cells inside the picture, mult[n - 1], shift[n - 1]).

    n is the number of cells inside; S is KH*KW, or 1 where every window divides by the same number.
    With `tflite` there is no scale to change and no mult: y = clamp(tflite_mean(sum of x, n)).
    """
    total = (windows(x, kernel, zx, **window).astype(np.int32) - zx).sum(axis=(3, 4))
    count = counts(x.shape, kernel, **window)
    if mult is None or shift is None:
        return clamp(tflite_mean(total, count), lo, hi).astype(x.dtype)
    which = count - 1 if mult.size > 1 else 0
    return requant_even(total, mult[which], shift[which], zy, lo, hi)


@qavgpool2d.cases
def _cases(rng: Rng) -> Cases:
    for (kh, kw), shape, geometry in WINDOWS:
        x, window = int8s(rng, shape), {**geometry, "kernel": (kh, kw)}
        yield [x], {**window, "round": "tflite", "hi": 90}
        yield [int16s(rng, shape)], {**window, "round": "tflite", "lo": -32768, "hi": 9000}
        scale = [multiplier(0.8 / n) for n in range(1, kh * kw + 1)]
        for kept in (scale, scale[-1:]):
            mult, shift = np.array([m for m, _ in kept], np.int32), np.array([s for _, s in kept], np.int8)
            yield [x, mult, shift], {**window, **offsets(rng)}
