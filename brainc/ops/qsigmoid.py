"""Logistic function or hyperbolic tangent on int16, exact: straight between the 256 knots of a table."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int16s


@op("x[...] knots[256]c -> y[...]")
def qsigmoid(x: Array, knots: Array, *, mult: int, shift: int, tanh: int = 0) -> Array:
    """y = 1 / (1 + exp(-v)), or with `tanh` tanh v, of 15 fractional bits, as TFLite rounds them.

    v is x * mult / 2^shift in steps of 1/(3 * 2^12); knots (int16) are about 2^16 / (1 + exp(-i / 24)) - 2^15, and
    tanh v is 2 / (1 + exp(-2 v)) - 1. |mult| < 2^15, 0 <= shift <= 31.
    """
    v = (x.astype(np.int64) * mult + ((1 << shift) >> 1)) >> shift
    size, bits = np.abs(v), 8 if tanh else 9
    i = np.minimum(size >> bits, 254)
    low = knots.astype(np.int64) + (1 << 15)
    y = (low[i] << bits) + (size & ((1 << bits) - 1)) * (low[i + 1] - low[i])
    most = 0xFFFF << 8 if tanh else 0x7FFF << 10
    y = np.where(size >> bits >= 255, most, y)
    if tanh:
        y = np.where(v >= 0, y - (1 << 23) + 128, (1 << 23) - y + 127) >> 8
    else:
        y = np.where(v >= 0, y + 512, (1 << 25) - y + 511) >> 10
    return np.asarray(y.astype(np.int16))


def knots_of_sigmoid() -> Array:
    """The knots, as TFLite has them: moved by half of what the straight lines between them are off in the middle."""
    at, half, after = (65536 / (1 + np.exp(-(np.arange(256) + step) / 24)) for step in (0, 0.5, 1))
    knots = np.rint(at + (half - (at + after) / 2) / 2)
    knots[-1] = 65535
    return np.asarray(knots - 32768).astype(np.int16)


@qsigmoid.cases
def _cases(rng: Rng) -> Cases:
    whole = np.arange(-32768, 32768, 7).astype(np.int16)
    for mult, shift in ((3, 0), (6, 0), (25000, 13), (17000, 18), (20000, 31)):
        for tanh in (0, 1):
            yield [whole, knots_of_sigmoid()], {"mult": mult, "shift": shift, "tanh": tanh}
    yield [int16s(rng, (1, 3, 4)), knots_of_sigmoid()], {"mult": 3, "shift": 0}
