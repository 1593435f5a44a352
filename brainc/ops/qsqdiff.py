"""Squared difference of two int8 activations of different scales, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import requant, tflite_multiplier, tflite_total
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8_pairs


@op("a[...] b[...2] -> y[...]")
def qsqdiff(
    a: Array,
    b: Array,
    *,
    za: int,
    zb: int,
    ma: int,
    mb: int,
    sa: int,
    sb: int,
    left: int,
    mult: int,
    shift: int,
    zy: int,
) -> Array:
    """y = requant(tflite_total(a, b) squared), rounded twice; one of ma and mb is negative. b's shape is a's, or its
    last axes. left is 7, so that a square fits int32."""
    b = np.broadcast_to(b, a.shape)
    total = tflite_total(a, b, zeros=(za, zb), mults=(ma, mb), shifts=(sa, sb), left=left)
    return requant(total * total, mult, shift, zy, round="tflite")


@qsqdiff.cases
def _cases(rng: Rng) -> Cases:
    for a, b in int8_pairs(rng):
        for other in (0.5, 0.02):
            (ma, sa), (mb, sb) = tflite_multiplier(other), tflite_multiplier(0.5)
            mult, shift = tflite_multiplier(3e-7)
            each = {"za": -20, "zb": 33, "zy": -128, "ma": ma, "sa": sa, "mb": -mb, "sb": sb, "left": 7}
            yield [a, b], {**each, "mult": mult, "shift": shift}
