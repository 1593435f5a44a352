"""Values held between two bounds."""

from __future__ import annotations

import math

import numpy as np

from brainc.dtypes import Array
from brainc.ops import op


@op("x[...] -> y[...]")
def clamp(x: Array, *, lo: float = -math.inf, hi: float = math.inf) -> Array:
    """y = min(max(x, lo), hi); ReLU is lo = 0, ReLU6 also hi = 6."""
    return np.clip(x, lo, hi).astype(x.dtype)
