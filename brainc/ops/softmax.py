"""Softmax along the last axis, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.ops import op


@op("x[M,N] -> y[M,N]")
def softmax(x: Array) -> Array:
    """y = exp(x - max) / sum of exp(x - max), row by row."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True)).astype(x.dtype)
