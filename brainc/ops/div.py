"""Quotient, element by element, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.ops import op


@op("a[...] b[...2] -> y[...]")
def div(a: Array, b: Array) -> Array:
    """y = a / b; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray((a / b).astype(a.dtype))
