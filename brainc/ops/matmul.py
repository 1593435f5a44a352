"""Product of two activations, real numbers."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import floats


@op("a[B,M,K] b[B,K,N] -> y[B,M,N]", macs="B*M*N*K")
def matmul(a: Array, b: Array) -> Array:
    """y = a @ b, batch by batch."""
    return np.asarray(np.matmul(a, b))


@matmul.cases
def _cases(rng: Rng) -> Cases:
    for b, m, k, n in ((1, 1, 1, 1), (1, 4, 16, 8), (3, 2, 5, 7)):
        yield [floats(rng, (b, m, k)), floats(rng, (b, k, n))], {}
