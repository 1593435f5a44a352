"""Product, element by element, real numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from brainc.dtypes import Array
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import pairs


@op("a[...] b[...2] -> y[...]")
def mul(a: Array, b: Array, *, lo: float = -np.inf, hi: float = np.inf) -> Array:
    """y = a * b, clamped to lo..hi; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray(np.clip(a * b, lo, hi).astype(a.dtype))


@mul.cases
def _cases(rng: Rng) -> Cases:
    yield from pairs(rng)
    yield from pairs(rng, lo=0.0, hi=1.5)
