"""Sums of a fully connected layer on int8, as they are: int32."""

from __future__ import annotations

import numpy as np

from brainc.numerics import dot
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8_layer


@op("x[M,K] w[N,K]c b[N]c -> y[M,N]:i32", macs="M*N*K")
def qdot(x: Array, w: Array, b: Array) -> Array:
    """y = x @ w.T + b; the offset -zx * sum(w) is already in b. Needs sums within int32."""
    return (dot(x, w) + b).astype(np.int32)


@qdot.cases
def _cases(rng: Rng) -> Cases:
    for m, k, n in ((1, 1, 1), (1, 16, 10), (3, 7, 5), (2, 33, 8), (1, 600, 3), (1, 40, 20)):
        x, w, b, *_ = int8_layer(rng, (m, k), (n, k), n, n)
        yield [x, w, b], {}
    x, w, _, *_ = int8_layer(rng, (2, 130), (4, 130), 4, 4)
    yield [x, w, np.array([1 << 30, -(1 << 30), 0, 12345], np.int32)], {}  # more than 24 bits
