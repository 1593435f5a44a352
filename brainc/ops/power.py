"""Power, element by element, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, op
from brainc.ops._samples import positive_pairs


@op("a[...] b[...2] -> y[...]")
def power(a: Array, b: Array) -> Array:
    """y = a ** b; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray(np.power(a, b).astype(a.dtype))


power.cases(positive_pairs)
