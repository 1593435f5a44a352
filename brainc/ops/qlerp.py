"""A place between two int8 activations on one scale, exact: a state that is mixed without being requantised."""

from __future__ import annotations

import math

import numpy as np

from brainc.numerics import clamp
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8s
from brainc.ops.lerp import same_shapes

LARGEST = 4096.0  # no scale of t may reach it
BITS = 14  # of a multiplier: with the 17 of (t - zt) * (b - a) a product stays within 32


@op("a[...] b[...2] t[...3] -> y[...]", result=same_shapes)
def qlerp(a: Array, b: Array, t: Array, *, zt: int, mult: int, shift: int, lo: int = -128, hi: int = 127) -> Array:
    """y = a + (t - zt) * (b - a) * mult / 2^shift, rounded once, half up; a, b and y have one scale and zero point.

    mult / 2^shift is the scale of t; 1 <= mult <= 2^14, 1 <= shift <= 30: 32 bits hold everything.
    """
    start = a.astype(np.int64)
    way = (t.astype(np.int64) - zt) * (b.astype(np.int64) - start) * mult
    return clamp(start + ((way + (1 << (shift - 1))) >> shift), lo, hi).astype(np.int8)


def lerp_multiplier(scale: float) -> tuple[int, int]:
    """(mult, shift) with mult / 2^shift nearest to the scale of t, in the lowest terms; scales below `LARGEST`."""
    fraction, exponent = math.frexp(scale)
    mult, shift = round(fraction * (1 << BITS)), BITS - exponent
    while shift > 30:
        mult, shift = (mult + 1) >> 1, shift - 1
    while mult % 2 == 0 and shift > 1 and mult:
        mult, shift = mult >> 1, shift - 1
    return mult, shift


@qlerp.cases
def _cases(rng: Rng) -> Cases:
    ends = np.array([-128, -128, 127, 127, 0, -1, 1, 5], np.int8)
    gate = np.array([-128, 127, -128, 127, 0, 1, -1, 100], np.int8)
    for zt, scale in ((-128, 1 / 256), (-128, 1 / 255), (3, 0.0131), (-100, 1.5)):
        mult, shift = lerp_multiplier(scale)
        given = {"zt": zt, "mult": mult, "shift": shift}
        yield [ends, ends[::-1].copy(), gate], {**given}
        yield [int8s(rng, (3, 57)) for _ in range(3)], {**given, "lo": -100, "hi": 120}
