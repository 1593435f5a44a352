"""The arithmetic contract: what integer brains compute, to the bit.

The ops of `brainc/ops` whose names start with `q` are made of these functions; `templates/fixed.h` says
the same in C, and `tests/unit/test_numerics.py` holds the two together (all cases where there are few,
a million random ones elsewhere). All products are widened before they are multiplied; shifts of negative
numbers are arithmetic (floor).

Requantisation, acc * mult / 2^shift + zero, has two rounding profiles (1 <= shift <= 62):

    once     clamp(((acc * mult + 2^(shift-1)) >> shift) + zero, lo, hi): one time, half up
    tflite   twice, as gemmlowp does and TFLite's reference kernels with it: the product to 31 bits, half up;
             then what is left of the shift, half away from zero
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from brainc.dtypes import Array

I8_LO, I8_HI = -128, 127
I32_LO, I32_HI = -(1 << 31), (1 << 31) - 1
SOFTMAX_BITS = 16  # weights of a softmax are exp(-d * scale) with 16 fractional bits
PROB_BITS = 15  # a probability before its last requantisation, as a fraction of 2^15


def clamp(v: Array, lo: int, hi: int) -> Array:
    """v held between lo and hi."""
    return np.minimum(np.maximum(v, lo), hi)


def rounding_shift(v: Array, shift: Array | int) -> Array:
    """int64 v / 2^shift, rounded half up; 1 <= shift <= 62."""
    wide = np.asarray(v, np.int64)
    s = np.asarray(shift, np.int64)
    return (wide + (np.int64(1) << (s - 1))) >> s


def requant(
    acc: Array,
    mult: Array | int,
    shift: Array | int,
    zero: int,
    lo: int = I8_LO,
    hi: int = I8_HI,
    round: str = "once",
    dtype: npt.DTypeLike = np.int8,
) -> Array:
    """int32 accumulators to int8: scaled by mult / 2^shift, rounded as the profile `round` says, offset, clamped.

    acc int32, mult int32 >= 0, shift 1..62 (both broadcast along the last axis). To int16 (`dtype`), what is rounded
    once may have 48 bits, if its mult has 15.
    """
    scaled = PROFILES[round](np.asarray(acc, np.int64), np.asarray(mult, np.int64), np.asarray(shift, np.int64))
    return clamp(scaled + zero, lo, hi).astype(dtype)


def scaled_once(acc: Array, mult: Array, shift: Array) -> Array:
    """int64 acc * mult / 2^shift, rounded one time, half up."""
    return rounding_shift(acc * mult, shift)


def scaled_twice(acc: Array, mult: Array | int, shift: Array | int) -> Array:
    """int64 acc * mult / 2^shift as TFLite rounds: to 31 fractional bits half up, then the rest half away from zero.

    A shift below 31 first shifts acc to the left, in int32. Source: SaturatingRoundingDoublingHighMul and
    RoundingDivideByPOT of gemmlowp's fixedpoint.h.
    """
    wide = (acc << np.maximum(31 - shift, 0)).astype(np.int32).astype(np.int64)
    return half_away_shift((wide * mult + (1 << 30)) >> 31, np.maximum(shift - 31, 0))


def half_away_shift(v: Array, shift: Array | int) -> Array:
    """int64 v / 2^shift, rounded half away from zero; 0 <= shift <= 31."""
    s = np.asarray(shift, np.int64)
    half = (np.int64(1) << s) >> 1
    return (v + np.where(s > 0, half - (v < 0), 0)) >> s


PROFILES = {"once": scaled_once, "tflite": scaled_twice}


def requant_even(
    acc: Array, mult: Array | int, shift: Array | int, zero: int, lo: int = I8_LO, hi: int = I8_HI
) -> Array:
    """The same with ties to even, as ONNX's QuantizeLinear rounds: for means, which hit ties all the time."""
    product = np.asarray(acc, np.int64) * np.asarray(mult, np.int64)
    half = np.int64(1) << (np.asarray(shift, np.int64) - 1)
    up = rounding_shift(product, shift)
    tie = (product & (2 * half - 1)) == half
    return clamp(up - np.where(tie, up & 1, 0) + zero, lo, hi).astype(np.int8)


def scaled_sum(
    a: Array, b: Array, za: int, zb: int, ma: int, mb: int, shift: int, zero: int, lo: int = I8_LO, hi: int = I8_HI
) -> Array:
    """int8 a + b of different scales: ((a-za)*ma + (b-zb)*mb) / 2^shift, in 32 bits throughout.

    |ma|, |mb| < 2^21, 1 <= shift <= 30, so no sum passes 2^31.
    """
    total = (a.astype(np.int32) - za) * np.int32(ma) + (b.astype(np.int32) - zb) * np.int32(mb)
    rounded = (total + (np.int32(1) << np.int32(shift - 1))) >> np.int32(shift)
    return clamp(rounded + zero, lo, hi).astype(np.int8)


Pair = tuple[int, int]


def tflite_sum(
    *operands: Array,
    zeros: Pair,
    mults: Pair,
    shifts: Pair,
    left: int,
    mult: int,
    shift: int,
    zero: int,
    lo: int = I8_LO,
    hi: int = I8_HI,
) -> Array:
    """int8 or int16 a + b, as TFLite adds: their sum on one scale, brought to that of the result."""
    scaled = scaled_twice(tflite_total(*operands, zeros=zeros, mults=mults, shifts=shifts, left=left), mult, shift)
    return clamp(scaled + zero, lo, hi).astype(operands[0].dtype)


def tflite_total(*operands: Array, zeros: Pair, mults: Pair, shifts: Pair, left: int) -> Array:
    """int64 a + b of different scales on one of their own.

    An operand is (q - its zero) * 2^left (within int32), scaled by |its mult| / 2^its shift; it is subtracted if
    its mult is negative. Every scaling rounds twice; shifts 31..62.
    """
    total: Array = np.zeros((), np.int64)
    for q, z, m, s in zip(operands, zeros, mults, shifts, strict=True):
        scaled = scaled_twice((q.astype(np.int64) - z) << left, abs(m), s)
        total = total + (scaled if m >= 0 else -scaled)
    return total


def tflite_prelu(
    x: Array, alpha: Array, zeros: tuple[int, int], positive: tuple[int, int], negative: tuple[int, int], zero: int
) -> Array:
    """int8 or int16: x where it is not negative, else x times its slope; each scaled by its (mult, shift), twice."""
    v, slope = (q.astype(np.int64) - z for q, z in zip((x, alpha), zeros, strict=True))
    scaled = np.where(v >= 0, scaled_twice(v, *positive), scaled_twice(v * slope, *negative))
    return clamp(scaled + zero, *((I8_LO, I8_HI) if x.dtype == np.int8 else (-32768, 32767))).astype(x.dtype)


def dot(x: Array, w: Array) -> Array:
    """Sum over the last axis of x [M,K] times w [N,K] (no wrap: `prove_widths` sees to it); int64."""
    return np.asarray(x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int64)


def between(v: Array, knots: Array) -> Array:
    """A function of int64 v = -32768..32767 that is straight between 513 int16 knots, 128 apart, rounded half up."""
    low = knots[256 + (v >> 7)].astype(np.int64)
    return np.asarray(low + (((knots[257 + (v >> 7)] - low) * (v & 127) + 64) >> 7))


def shift_u8(x: Array) -> Array:
    """uint8 to int8 with the zero point moved by 128, and back: the top bit flips."""
    flipped = x.view(np.uint8) ^ np.uint8(0x80)
    return np.asarray(flipped.view(np.int8 if x.dtype == np.uint8 else np.uint8))


def softmax_probability(weights: Array) -> Array:
    """uint32 weights [M,N] (each <= 2^16, a row's sum > 0) to fractions of 2^15, rounded half up."""
    total = weights.sum(axis=-1, keepdims=True, dtype=np.uint64)
    return np.asarray(((weights.astype(np.uint64) << np.uint64(PROB_BITS)) + total // 2) // total)


def high_product(a: Array, b: Array | int) -> Array:
    """int64 a * b / 2^31 of numbers within int32, rounded half up: the product of two fractions of 31 bits."""
    product: Array = a * b + (1 << 30)
    return np.asarray(product >> 31)


def reciprocal(x: Array) -> Array:
    """1 / (1 + x) as fractions of 2^31, for int64 x = 0..2^31-1 that are such fractions themselves."""
    return clamp(twice_reciprocal(x) << 1, I32_LO, I32_HI)


def twice_reciprocal(x: Array) -> Array:
    """2 / (1 + x) as fractions of 2^29, for int64 x = 0..2^31-1 that are fractions of 2^31.

    Three steps of Newton's method from 48/17 - 32/17 d, as gemmlowp's fixedpoint.h takes them; d is half of 1 + x.
    """
    d = (x + (1 << 31)) >> 1
    y = 1515870810 + high_product(d, -1010580540)
    for _ in range(3):
        rest = (1 << 29) - high_product(d, y)
        y = y + clamp(high_product(y, rest) << 2, I32_LO, I32_HI)
    return y


def inverse_root(x: Array) -> tuple[Array, Array]:
    """(mult, shift) with mult / 2^shift about 1 / sqrt(x), for int64 x = 0..2^31-1; of 0 as of 1.

    x becomes 1/4..1 by pairs of bits, with 3 integer bits; five of Newton's steps from 1, as TFLite's reference
    kernels take them.
    """
    size = np.maximum(x, 1)
    right = 11 + np.where(size >= 1 << 29, 1 + (size >= 1 << 31), 0)
    size = size >> (2 * (right - 11))
    pairs = (30 - np.floor(np.log2(size)).astype(np.int64)) // 2 - 1  # exact: below 2^52
    half, y = half_away_shift((size << (2 * pairs)) >> 1, 1), np.full_like(size, 1 << 28)
    for _ in range(5):
        cube = clamp(high_product(high_product(y, y), y) << 6, I32_LO, I32_HI)
        y = clamp((high_product(y, (1 << 28) + (1 << 27)) - high_product(half, cube)) << 3, I32_LO, I32_HI)
    mult, right = high_product(y, 1518500250), right - pairs
    mult, right = mult << np.maximum(-right, 0), np.maximum(right, 0)
    return np.where(x <= 1, I32_HI, mult), 31 + np.where(x <= 1, 0, right)


def tflite_softmax(weights: Array) -> Array:
    """int64 weights [M,N] (fractions of 2^31, the largest of a row is 1) to int8 probabilities, 256 to the whole.

    A row's sum has 19 fractional bits; N <= 4095. Source: the int8 softmax of TFLite's reference kernels.
    """
    total = half_away_shift(weights, 12).sum(axis=-1, keepdims=True)
    zeros = 31 - np.floor(np.log2(total.astype(np.float64))).astype(np.int64)  # before its first bit, in 32
    scale = reciprocal((total << zeros) - (1 << 31))
    return clamp(half_away_shift(high_product(weights, scale), 35 - zeros) + I8_LO, I8_LO, I8_HI).astype(np.int8)


def tflite_mean(total: Array, count: Array | int) -> Array:
    """int64 sums divided by the number of terms, rounded half away from zero."""
    quotient = (np.abs(total) + count // 2) // count
    return np.asarray(np.where(total < 0, -quotient, quotient))


def to_int(x: Array, scale: float, zero: int, lo: int, hi: int, round: str = "once") -> Array:
    """float32 to an integer: clamp(round_half_even(x * (1 / scale)) + zero), all in float32 before the clamp.

    NaN becomes the zero point. With `tflite` it is round_half_away(x / scale).
    """
    narrow, step = x.astype(np.float32), np.float32(scale)
    scaled = narrow / step if round == "tflite" else narrow * (np.float32(1.0) / step)
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=3e38, neginf=-3e38)
    bounded = np.clip(scaled, np.float32(lo - zero), np.float32(hi - zero))
    if round == "tflite":
        whole = np.trunc(bounded)
        bounded = whole + np.where(np.abs(bounded - whole) >= 0.5, np.sign(bounded), 0)
    return np.asarray(np.rint(bounded).astype(np.int64) + zero)


def from_int(q: Array, scale: float, zero: int) -> Array:
    """An integer to float32: (q - zero) * scale."""
    return np.asarray((q.astype(np.int32) - np.int32(zero)).astype(np.float32) * np.float32(scale))


def multiplier(real: float) -> tuple[int, int]:
    """(mult, shift) with mult / 2^shift nearest to a real factor >= 0; mult has 31 bits where it can.

    Error below 2^-31 relative for factors in 2^-32 .. 2^29.
    """
    if real <= 0.0 or not math.isfinite(real):
        return 0, 1
    fraction, exponent = math.frexp(real)
    mult, shift = round(fraction * (1 << 31)), 31 - exponent
    if mult == 1 << 31:
        mult, shift = mult >> 1, shift - 1
    while shift > 62:
        mult, shift = (mult + 1) >> 1, shift - 1
    if shift < 1:
        return (1 << 31) - 1, 1
    return mult, shift


def tflite_multiplier(real: float) -> tuple[int, int]:
    """(mult, shift) of a factor >= 0 as TFLite works it out: half away from zero, and nothing at all below 2^-32."""
    fraction, exponent = math.frexp(real)
    mult = math.floor(fraction * (1 << 31) + 0.5)
    if mult == 1 << 31:
        mult, exponent = mult >> 1, exponent + 1
    return (mult, 31 - exponent) if mult and exponent >= -31 else (0, 31)


def sum_multipliers(a: float, b: float) -> tuple[int, int, int]:
    """(ma, mb, shift) for `scaled_sum`: both real factors over one power of two, at most 21 bits each."""
    largest = max(abs(a), abs(b), 1e-30)
    shift = min(30, max(1, 20 - math.frexp(largest)[1]))
    return round(a * (1 << shift)), round(b * (1 << shift)), shift
