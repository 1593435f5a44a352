"""Product of two int8 activations, element by element, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import multiplier, requant
from brainc.ops import ROUND, Array, Cases, Rng, op
from brainc.ops._samples import int8_pairs


@op("a[...] b[...2] -> y[...]", hints=ROUND)
def qmul(
    a: Array, b: Array, *, za: int, zb: int, mult: int, shift: int, zy: int, lo: int = -128, hi: int = 127
) -> Array:
    """y = requant((a - za) * (b - zb)); b's shape is a's, or its last axes."""
    return requant((a.astype(np.int32) - za) * (b.astype(np.int32) - zb), mult, shift, zy, lo, hi)


@qmul.cases
def _cases(rng: Rng) -> Cases:
    for a, b in int8_pairs(rng):
        for real in (0.013, 0.4):
            mult, shift = multiplier(real)
            yield [a, b], {"za": -20, "zb": 33, "mult": mult, "shift": shift, "zy": -4, "lo": -100}
