"""Softmax on int16, exact: exponentials and the reciprocal of their sum are straight between knots."""

from __future__ import annotations

import numpy as np

from brainc.numerics import between, clamp, scaled_twice, tflite_multiplier
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int16s


@op("x[M,N] knots[513]c inverses[513]c -> y[M,N]")
def qsoftmax16(x: Array, knots: Array, inverses: Array, *, mult: int, shift: int) -> Array:
    """y = exp(x - max) / sum of exp(x - max) of 15 fractional bits, row by row, as TFLite rounds them.

    The distance from the largest, times mult / 2^shift, goes from -65535 to 0 where it is 10 to 0: `knots` are exp
    over that, `inverses` 1 / (1 + v) for v of 0 to 1, both with 15 fractional bits. Needs N <= 65535.
    """
    wide = x.astype(np.int64)
    distance = scaled_twice(wide - wide.max(axis=-1, keepdims=True), mult, shift)
    weights = between(clamp(distance + 32767, -32768, 32767), knots)
    total = weights.sum(axis=-1, keepdims=True)
    zeros = 31 - np.floor(np.log2(total.astype(np.float64))).astype(np.int64)  # before its first bit, in 32
    place = (((total << (zeros - 1)) + (1 << 13)) >> 14) - (1 << 15) - (1 << 16)
    scale = between(clamp(place, -32768, 32767), inverses)
    down = 31 - zeros
    return clamp((weights * scale + (np.int64(1) << (down - 1))) >> down, 0, 32767).astype(np.int16)


@qsoftmax16.cases
def _cases(rng: Rng) -> Cases:
    steps = np.linspace(0, 1, 513)
    knots, inverses = (np.rint(v * 32767).astype(np.int16) for v in (np.exp(10 * (steps - 1)), 1 / (1 + steps)))
    for real in (0.3, 1.6):
        mult, shift = tflite_multiplier(real)
        for shape in ((1, 1), (3, 7), (1, 12), (2, 100)):
            yield [int16s(rng, shape), knots, inverses], {"mult": mult, "shift": shift}
        yield [np.full((1, 65535), 77, np.int16), knots, inverses], {"mult": mult, "shift": shift}
