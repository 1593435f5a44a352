"""Sum of two int8 activations of different scales, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import scaled_sum, sum_multipliers
from brainc.ops import ROUND, Array, Cases, Rng, op
from brainc.ops._samples import int8_pairs


@op("a[...] b[...2] -> y[...]", hints=ROUND)
def qadd(
    a: Array, b: Array, *, za: int, zb: int, ma: int, mb: int, shift: int, zy: int, lo: int = -128, hi: int = 127
) -> Array:
    """y = scaled_sum(a, b); a negative mb subtracts. b's shape is a's, or its last axes."""
    return scaled_sum(a, np.broadcast_to(b, a.shape), za, zb, ma, mb, shift, zy, lo, hi)


@qadd.cases
def _cases(rng: Rng) -> Cases:
    for a, b in int8_pairs(rng):
        for ra, rb in ((0.7, 0.4), (1.9, -1.3), (0.001, 0.9)):
            ma, mb, shift = sum_multipliers(ra, rb)
            yield [a, b], {"za": -20, "zb": 33, "ma": ma, "mb": mb, "shift": shift, "zy": -4, "lo": -100}
