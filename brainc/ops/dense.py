"""Fully connected layer, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import floats


@op("x[M,K] w[N,K]c b[N]c? -> y[M,N]", macs="M*N*K")
def dense(x: Array, w: Array, b: Array | None, *, lo: float = -np.inf, hi: float = np.inf) -> Array:
    """y = clamp(x @ w.T + b, lo, hi); a 1x1 convolution is this with M = B*H*W."""
    y = x @ w.T
    return np.asarray(np.clip(y if b is None else y + b, lo, hi)).astype(x.dtype)


@dense.cases
def _cases(rng: Rng) -> Cases:
    for m, k, n in ((1, 1, 1), (1, 16, 10), (3, 7, 5), (5, 64, 12)):
        yield [floats(rng, (m, k)), floats(rng, (n, k)), floats(rng, (n,))], {"lo": -2.0, "hi": 2.0}
