"""Softmax along the last axis, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import floats


@op("x[M,N] -> y[M,N]")
def softmax(x: Array) -> Array:
    """y = exp(x - max) / sum of exp(x - max), row by row."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True)).astype(x.dtype)


@softmax.cases
def _cases(rng: Rng) -> Cases:
    for shape in ((1, 1), (3, 7), (1, 12), (2, 100)):
        yield [floats(rng, shape, 5.0)], {}
    yield [np.array([[1e4, -1e4, 1e4]], np.float32)], {}
