"""A slope of its own for what is negative, on int8 (or int16), exact."""

from __future__ import annotations

import numpy as np

from brainc.ir import Attr
from brainc.numerics import tflite_multiplier, tflite_prelu
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8_pairs, int16s


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
    (mult, shift), (mult_neg, shift_neg) = tflite_multiplier(1.3), tflite_multiplier(0.2)
    numbers: dict[str, Attr] = {"zx": 0, "zb": 0, "zy": 0, "mult": mult, "shift": shift}
    numbers |= {"mult_neg": mult_neg, "shift_neg": shift_neg}
    for slope in (1, -1):
        yield [int16s(rng, (3, 50)), np.array([slope], np.int16)], numbers
