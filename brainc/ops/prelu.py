"""A slope of its own for what is negative, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, op
from brainc.ops._samples import pairs


@op("a[...] b[...2] -> y[...]")
def prelu(a: Array, b: Array) -> Array:
    """y = a, or a * b where a is negative; b's shape is a's, or its last axes (repeated over the others)."""
    return np.asarray(np.where(a < 0, a * b, a))


prelu.cases(pairs)
