"""Product, element by element, real numbers."""

from __future__ import annotations

import math

import numpy as np

from brainc.dtypes import Array
from brainc.ops import op


@op("a[...] b[...2] -> y[...]")
def mul(a: Array, b: Array, *, lo: float = -math.inf, hi: float = math.inf) -> Array:
    """y = a * b, clamped to lo..hi; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray(np.clip(a * b, lo, hi).astype(a.dtype))
