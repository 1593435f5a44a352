"""Fully connected layer, real numbers."""

from __future__ import annotations

import math

import numpy as np

from brainc.dtypes import Array
from brainc.ops import op


@op("x[M,K] w[N,K]c b[N]c? -> y[M,N]", macs="M*N*K")
def dense(x: Array, w: Array, b: Array | None, *, lo: float = -math.inf, hi: float = math.inf) -> Array:
    """y = clamp(x @ w.T + b, lo, hi); a 1x1 convolution is this with M = B*H*W."""
    y = x @ w.T
    return np.asarray(np.clip(y if b is None else y + b, lo, hi)).astype(x.dtype)
