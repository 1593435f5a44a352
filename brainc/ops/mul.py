"""Product, element by element, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, op
from brainc.ops._samples import clamped_pairs


@op("a[...] b[...2] -> y[...]")
def mul(a: Array, b: Array, *, lo: float = -np.inf, hi: float = np.inf) -> Array:
    """y = a * b, clamped to lo..hi; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray(np.clip(a * b, lo, hi).astype(a.dtype))


mul.cases(clamped_pairs)
