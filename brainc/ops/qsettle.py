"""Means from sums, exact: what `qmean` does once it has summed."""

from __future__ import annotations

import numpy as np

from brainc.numerics import multiplier, requant, requant_even
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import Geometry, both_rounds


@op("s[N] -> y[N]:i8")
def qsettle(
    s: Array, *, less: int, mult: int, shift: int, zy: int, lo: int = -128, hi: int = 127, round: str = "once"
) -> Array:
    """y = requant_even(s - less); with `tflite` it is requant in that profile. `less`: zero point times terms."""
    total = s - np.int32(less)
    if round == "once":
        return requant_even(total, mult, shift, zy, lo, hi)
    return requant(total, mult, shift, zy, lo, hi, round)


@qsettle.cases
def _cases(rng: Rng) -> Cases:
    for terms, n in ((1, 1), (49, 64), (125, 7)):
        mult, shift = multiplier(0.9 / terms)
        attrs: Geometry = {"less": -30 * terms, "mult": mult, "shift": shift, "zy": 11, "hi": 100}
        yield from both_rounds([rng.integers(-128 * terms, 127 * terms, n).astype(np.int32)], attrs)
