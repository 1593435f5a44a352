"""Means from sums as TFLite's average pool rounds them, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import clamp, tflite_mean
from brainc.ops import Array, Cases, Rng, op


@op("s[N] -> y[N]:i8")
def qquotient(s: Array, *, count: int, lo: int = -128, hi: int = 127) -> Array:
    """y = clamp(tflite_mean(s, count))."""
    return np.asarray(clamp(tflite_mean(s, np.full(s.shape, count, np.int32)), lo, hi).astype(np.int8))


@qquotient.cases
def _cases(rng: Rng) -> Cases:
    for count, n in ((1, 1), (9, 64), (64, 5)):
        yield [rng.integers(-128 * count, 127 * count, n).astype(np.int32)], {"count": count, "hi": 90}
