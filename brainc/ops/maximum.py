"""Larger of two, element by element, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, op
from brainc.ops._samples import pairs


@op("a[...] b[...2] -> y[...]")
def maximum(a: Array, b: Array) -> Array:
    """y = max(a, b); b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray(np.maximum(a, b))


maximum.cases(pairs)
