"""Numbers for the ops' sample cases: small and odd sizes, extremes, everything that saturates.

Called by the `cases` of the files beside this one; what leaves are arrays and attributes that every kernel
of an op is tested on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from brainc.ir import Attr
from brainc.numerics import PROFILES
from brainc.ops import Array, Cases, Rng

Geometry = dict[str, Attr]

# kernel, shape of x [B,H,W,C], and the rest of what a sliding window has
WINDOWS: tuple[tuple[tuple[int, int], tuple[int, int, int, int], Geometry], ...] = (
    ((3, 3), (1, 5, 7, 3), {"pads": (1, 1, 1, 1)}),
    ((3, 3), (1, 6, 5, 8), {"pads": (1, 1, 1, 1), "strides": (2, 2)}),
    ((2, 2), (1, 6, 8, 4), {"strides": (2, 2)}),
    ((2, 3), (1, 6, 6, 5), {"pads": (0, 1, 1, 0), "strides": (2, 1)}),
    ((3, 2), (2, 7, 5, 1), {"dilations": (2, 1), "pads": (2, 1, 1, 0)}),
    ((3, 3), (1, 9, 9, 2), {"dilations": (2, 3), "pads": (2, 3, 2, 3)}),
    ((5, 4), (1, 5, 4, 6), {}),
    ((1, 1), (1, 3, 4, 7), {"strides": (2, 3)}),
    ((4, 1), (1, 8, 1, 2), {"pads": (3, 0, 0, 0), "strides": (3, 1)}),
    ((3, 3), (1, 4, 5, 64), {"pads": (1, 1, 1, 1)}),
)


def floats(rng: Rng, shape: Sequence[int], spread: float = 1.0) -> Array:
    """float32 numbers around zero, one of them exactly zero."""
    x = (rng.standard_normal(tuple(shape)) * spread).astype(np.float32)
    x.reshape(-1)[:1] = 0.0
    return x


def int8s(rng: Rng, shape: Sequence[int], lo: int = -128) -> Array:
    """int8 numbers over the whole range, with both ends in it."""
    x = rng.integers(lo, 128, tuple(shape)).astype(np.int8)
    flat = x.reshape(-1)
    flat[:1], flat[-1:] = lo, 127
    return x


def int16s(rng: Rng, shape: Sequence[int]) -> Array:
    """int16 numbers over the whole range, with both ends in it."""
    x = rng.integers(-32768, 32768, tuple(shape)).astype(np.int16)
    flat = x.reshape(-1)
    flat[:1], flat[-1:] = -32768, 32767
    return x


def scales(rng: Rng, count: int, terms: int) -> tuple[Array, Array]:
    """(mult, shift) of `count` channels for sums of `terms` products: most fit int8, some saturate."""
    typical = 60.0 / (5500.0 * np.sqrt(terms))
    mult = rng.integers(1 << 30, (1 << 31) - 1, count).astype(np.int32)
    mult[:1] = (1 << 31) - 1
    shift = np.full(count, round(-np.log2(typical)) + 31) + rng.integers(-1, 2, count)
    return mult, np.clip(shift, 1, 62).astype(np.int8)


def offsets(rng: Rng) -> Geometry:
    """Zero points of input and output."""
    return {"zx": int(rng.integers(-128, 128)), "zy": int(rng.integers(-40, 40))}


def int8_layer(rng: Rng, x: Sequence[int], w: Sequence[int], channels: int, count: int) -> list[Array | None]:
    """int8 x and w, int32 b of `channels`, and `count` of mult and shift."""
    weights = int8s(rng, w, -127)
    b = rng.integers(-20000, 20000, channels).astype(np.int32)
    return [int8s(rng, x), weights, b, *scales(rng, count, weights.size // channels)]


def int4_layer(rng: Rng, x: Sequence[int], w: Sequence[int], group: int, attrs: Geometry) -> Cases:
    """int8 x, weights of 4 bits, a byte that scales every `group` of them, an int16 bias; and all at their ends.

    The factor has 23 bits and shifts by 32, as brainc makes it, but in the last case.
    """
    terms = int(np.prod(w[1:]))
    weights = rng.integers(-8, 8, tuple(w)).astype(np.int8)
    most = 256 if terms <= 100 else 40  # so that some sums stay within 24 bits
    s = rng.integers(1, most, (w[0], -(-terms // group))).astype(np.uint8)
    b = rng.integers(-3000, 3000, w[0]).astype(np.int16)
    mult = round(60 / (200 * most * np.sqrt(terms)) * (1 << 32))
    given: Geometry = {**attrs, "group": group, "up": 5, "mult": mult, "shift": 32}
    few = (np.abs(weights) // 4 * np.sign(weights)).astype(np.int8)  # groups within 16 bits
    for some in (weights, few):
        yield [int8s(rng, x), some, s, b], given
    low, top = np.full(x, -128, np.int8), np.full_like(s, 255)
    yield [low, np.full(w, -8, np.int8), top, np.full_like(b, 32767)], given
    long, wide = scales(rng, 1, terms)
    yield (
        [low, np.full(w, 7, np.int8), top, np.full_like(b, -32768)],
        {**given, "mult": int(long[0]), "shift": int(wide[0]) + 3},
    )


def int16_layers(rng: Rng, x: Sequence[int], w: Sequence[int], attrs: Geometry) -> Cases:
    """int16 x and int8 w: rounded once, with a mult of 15 bits, and (where 32 bits hold the sums) twice."""
    _, weights, b, mult, shift = int8_layer(rng, x, w, w[0], w[0])
    assert weights is not None and mult is not None and shift is not None
    wide = int16s(rng, x)
    yield [wide, weights, b, mult >> 16, shift - 16], {**attrs, "round": "once"}
    if weights.size // w[0] * 127 * 32768 < 1 << 31:
        yield [wide, weights, b, mult, shift], {**attrs, "round": "tflite"}


def both_rounds(operands: Sequence[Array | None], attrs: Geometry) -> Cases:
    """One case in each rounding profile."""
    for profile in PROFILES:
        yield list(operands), {**attrs, "round": profile}


def moves(rng: Rng, shape: Sequence[int], attrs: dict[str, Attr]) -> Cases:
    """One tensor of bytes, of words and of reals, for ops that only move elements."""
    for dtype in (np.int8, np.int32, np.float32):
        yield [(rng.standard_normal(tuple(shape)) * 50).astype(dtype)], attrs


def pairs(rng: Rng) -> Cases:
    """float32 a and b of the same shape, and b repeated over a's leading axes."""
    for a, b in (((7,), (7,)), ((1, 3, 5, 4), (1, 3, 5, 4)), ((2, 3, 5), (5,)), ((2, 3, 4), (3, 4)), ((2, 9), (1,))):
        yield [floats(rng, a, 2.0), floats(rng, b, 2.0)], {}


def clamped_pairs(rng: Rng) -> Cases:
    """The pairs, without bounds and with some."""
    for operands, _ in pairs(rng):
        yield operands, {}
        yield operands, {"lo": 0.0, "hi": 1.5}


def positive_pairs(rng: Rng) -> Cases:
    """The pairs, above zero."""
    for operands, _ in pairs(rng):
        yield [np.abs(x) + 0.1 for x in operands if x is not None], {}


def int16_pairs(rng: Rng) -> Iterator[tuple[Array, Array]]:
    """int16 a and b of the same shape, and b repeated over a's leading axes."""
    yield int16s(rng, (1, 3, 5, 4)), int16s(rng, (1, 3, 5, 4))
    yield int16s(rng, (2, 30, 7)), int16s(rng, (7,))


def int8_pairs(rng: Rng) -> Iterator[tuple[Array, Array]]:
    """int8 a and b of the same shape, and b repeated over a's leading axes."""
    same = np.arange(-128, 128).astype(np.int8)
    yield same.repeat(4).reshape(256, 4), np.array([-128, -1, 0, 127], np.int8)
    yield same, same[::-1].copy()
    yield int8s(rng, (1, 3, 5, 4)), int8s(rng, (1, 3, 5, 4))
    yield int8s(rng, (1, 3, 5, 16)), int8s(rng, (16,))
    yield int8s(rng, (2, 3, 7)), int8s(rng, (3, 7))


def ragged(arrays: list[Array | None], rows: int, **given: Attr) -> Cases:
    """A case as it is and, where it has several rows, once more with the number of those that are there behind it.

    What is left out at the end is left out; elsewhere a gap is None.
    """
    whole = arrays[:]
    while whole and whole[-1] is None:
        whole.pop()
    yield whole, dict(given)
    if rows > 1:
        yield [*arrays, np.array([rows - 1], np.int32)], dict(given)
