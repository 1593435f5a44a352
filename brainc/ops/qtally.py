"""Sums in the making: rows of int8 added to what was summed before, exact.

A mean over a picture that is never whole in memory: `qtally` for every few rows, then `qsettle` or `qquotient`.
"""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8s


@op("x[K,N] s[N] -> y[N]:i32")
def qtally(x: Array, s: Array) -> Array:
    """y = s + sum over K of x; sums are int32."""
    return np.asarray(s + x.astype(np.int32).sum(axis=0, dtype=np.int32))


@qtally.cases
def _cases(rng: Rng) -> Cases:
    for k, n in ((1, 1), (5, 64), (7, 3), (300, 2)):
        yield [int8s(rng, (k, n)), rng.integers(-(1 << 20), 1 << 20, n).astype(np.int32)], {}
