"""Mean (or sum) along the middle axis on int8, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import multiplier, requant_even
from brainc.ops import ROUND, Array, Cases, Rng, op
from brainc.ops._samples import int8s


@op("x[M,K,N] -> y[M,N]", hints=ROUND)
def qmean(x: Array, *, zx: int, mult: int, shift: int, zy: int, lo: int = -128, hi: int = 127) -> Array:
    """y = requant_even(sum over K of (x - zx)); the division by K is in mult / 2^shift."""
    return requant_even((x.astype(np.int32) - zx).sum(axis=1), mult, shift, zy, lo, hi)


@qmean.cases
def _cases(rng: Rng) -> Cases:
    for m, k, n in ((1, 1, 1), (3, 7, 5), (1, 49, 64), (2, 4, 1)):
        mult, shift = multiplier(0.9 / k)
        yield [int8s(rng, (m, k, n))], {"zx": -30, "mult": mult, "shift": shift, "zy": 11, "hi": 100}
