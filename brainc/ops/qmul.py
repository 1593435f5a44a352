"""Product of two int8 (or int16) activations, element by element, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import multiplier, requant, tflite_multiplier
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import both_rounds, int8_pairs, int16_pairs


@op("a[...] b[...2] -> y[...]")
def qmul(
    a: Array,
    b: Array,
    *,
    za: int,
    zb: int,
    mult: int,
    shift: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant((a - za) * (b - zb)); b's shape is a's, or its last axes."""
    return requant((a.astype(np.int32) - za) * (b.astype(np.int32) - zb), mult, shift, zy, lo, hi, round, a.dtype)


@qmul.cases
def _cases(rng: Rng) -> Cases:
    for a, b in int8_pairs(rng):
        for real in (0.013, 0.4):
            mult, shift = multiplier(real)
            attrs = {"za": -20, "zb": 33, "mult": mult, "shift": shift, "zy": -4, "lo": -100}
            yield from both_rounds([a, b], {**attrs})
    mult, shift = tflite_multiplier(0.00003)
    for a, b in int16_pairs(rng):
        zeros = {"za": 0, "zb": 0, "zy": 0, "lo": -32768, "hi": 32000}
        yield [a, b], {**zeros, "mult": mult, "shift": shift, "round": "tflite"}
