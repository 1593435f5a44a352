"""A slope of its own for what is negative, on int8, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import tflite_multiplier, tflite_prelu
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8_pairs


@op("x[...] b[...2] -> y[...]")
def qprelu(
    x: Array, b: Array, *, zx: int, zb: int, mult: int, shift: int, mult_neg: int, shift_neg: int, zy: int
) -> Array:
    """y = tflite_prelu(x, slopes b): x times mult, or x times b times mult_neg; b's shape is x's, or its last axes."""
    slopes = np.broadcast_to(b, x.shape)
    return tflite_prelu(x, slopes, (zx, zb), (mult, shift), (mult_neg, shift_neg), zy)


@qprelu.cases
def _cases(rng: Rng) -> Cases:
    for x, b in int8_pairs(rng):
        for real in (0.9, 3.1):
            (mult, shift), (mult_neg, shift_neg) = tflite_multiplier(real), tflite_multiplier(real / 70)
            zeros = {"zx": -20, "zb": 33, "zy": -4}
            yield [x, b], {**zeros, "mult": mult, "shift": shift, "mult_neg": mult_neg, "shift_neg": shift_neg}
