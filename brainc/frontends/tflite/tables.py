"""Answers of functions of one int8 variable, worked out in fixed point as TFLite Micro's reference kernels do.

The rules knock with scales and zero points; 256 answers leave, in the order of x from -128 to 127 (of a softmax: of
the distance d from the largest, 0 to 255). Functions of fixed-point numbers are those of gemmlowp's fixedpoint.h.
"""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.numerics import (
    I32_HI,
    clamp,
    half_away_shift,
    high_product,
    reciprocal,
    scaled_twice,
    tflite_multiplier,
    twice_reciprocal,
)

X = np.arange(-128, 128, dtype=np.int64)
ONE = I32_HI  # as a fraction of 2^31
# exp(-2^e) as fractions of 2^31, from e = -2
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def scaled(v: Array, real: float, zero: int = 0) -> Array:
    """int8 v * real + zero."""
    return clamp(scaled_twice(v, *tflite_multiplier(real)) + zero, -128, 127)


def exponentials(scale: float, beta: float) -> Array:
    """exp(-d * scale * beta) for d = 0..255 as fractions of 2^31; 0 beyond what 5 integer bits hold."""
    mult, shift = tflite_multiplier(min(beta * scale * (1 << 26), (1 << 31) - 1.0))
    near = np.arange(256) <= 31 * 2.0 ** (26 - (31 - shift))
    return np.where(near, exp(scaled_twice(np.where(near, X[0] - X, 0), mult, shift), 5), 0)


def logistic(scale: float, zero: int) -> Array:
    """1 / (1 + exp(-x)) of 8 fractional bits, from -128."""
    v, inside = _four_integer_bits(scale, zero)
    positive = reciprocal(exp(-np.abs(v), 4))
    y = np.where(v > 0, positive, np.where(v < 0, ONE - positive, 1 << 30))
    return np.where(inside, clamp(half_away_shift(y, 23) - 128, -128, 127), np.where(zero > X, -128, 127))


def tanh(scale: float, zero: int) -> Array:
    """tanh x of 7 fractional bits."""
    v, inside = _four_integer_bits(scale, zero)
    size = clamp((twice_reciprocal(exp(-np.abs(v), 5)) - (1 << 29)) << 2, 0, ONE)  # of exp(-2|x|): a bit further
    y = half_away_shift(np.sign(v) * size, 24)
    return np.where(inside, clamp(y, -128, 127), np.where(zero > X, -128, 127))


def _four_integer_bits(scale: float, zero: int) -> tuple[Array, Array]:
    """(x, whether it is inside -15..15), x with 4 integer and 27 fractional bits."""
    mult, shift = tflite_multiplier(scale * (1 << 27))
    inside = np.abs(X - zero) < np.floor(15 * 2.0 ** (27 - (31 - shift)))
    return scaled_twice(np.where(inside, X - zero, 0), mult, shift), inside


def exp(a: Array, integer_bits: int) -> Array:
    """exp(a) as fractions of 2^31, for a <= 0 with that many integer bits.

    Quarters are taken from a table bit by bit; what is left has a series around -1/8.
    """
    quarter = 1 << (29 - integer_bits)
    rest = (a & (quarter - 1)) - quarter
    x = (rest << integer_bits) + (1 << 28)
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    tail = half_away_shift(high_product(half_away_shift(x4, 2) + x3, 715827883) + x2, 1)
    y = 1895147668 + high_product(x + tail, 1895147668)
    for bit, power in enumerate(_POWERS[: integer_bits + 2], 29 - integer_bits):
        y = np.where((rest - a) >> bit & 1, high_product(y, power), y)
    return np.where(a == 0, ONE, y)


def hard_swish(x: tuple[float, int], y: tuple[float, int]) -> Array:
    """x * clamp(x + 3, 0, 6) / 6 in 16 bits: x with 7 more bits times a slope that saturates at 0 and 1."""
    (sx, zx), (sy, zy) = x, y
    fine = np.float32(1 / 128) * np.float32(sx)
    (out, out_shift), (slope, slope_shift) = (
        tflite_multiplier(float(fine / step)) for step in (np.float32(sy), np.float32(3) / np.float32(32768))
    )
    out, slope = (min((m + (1 << 15)) >> 16, 32767) for m in (out, slope))
    v = (X - zx) << 7
    steep = v
    left = 31 - slope_shift
    if left > 0:
        steep = _saturated(steep << (left - 1))
    steep = _high_product_16(steep, slope)
    steep = _saturated(steep << 1) if left > 0 else half_away_shift(steep, -left)
    steep = (steep + (1 << 15)) >> 1
    product = steep * _high_product_16(v, out)
    towards_zero = np.sign(product) * (np.abs(product) >> 15)
    return clamp(half_away_shift(towards_zero, out_shift - 31) + zy, -128, 127)


def _saturated(v: Array) -> Array:
    return clamp(v, -32768, 32767)


def _high_product_16(a: Array, b: int) -> Array:
    """a * b / 2^15 of 16 bits, rounded half up."""
    product: Array = a * b + (1 << 14)
    return np.asarray(product >> 15)
