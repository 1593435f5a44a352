"""Sum of two int8 (or int16) activations of different scales, exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from brainc.numerics import scaled_sum, sum_multipliers, tflite_multiplier, tflite_sum
from brainc.ops import RESIDUAL, Array, Cases, Ints, Rng, op
from brainc.ops._samples import int8_pairs, int16_pairs


def with_residual(y: Array, r: Array | None, numbers: Ints, round: str) -> Array:
    """y, to which a qadd of the these numbers adds r if there is one."""
    return y if r is None else np.asarray(qadd.meaning(y, r, **dict(zip(RESIDUAL, numbers, strict=True)), round=round))


@op("a[...] b[...2] -> y[...]")
def qadd(
    a: Array,
    b: Array,
    *,
    za: int,
    zb: int,
    ma: int,
    mb: int,
    shift: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
    sa: int = 0,
    sb: int = 0,
    left: int = 0,
    mult: int = 0,
) -> Array:
    """y = scaled_sum(a, b); a negative ma or mb subtracts. b's shape is a's, or its last axes.

    With `tflite`, and for int16, it is tflite_sum(a, b): each operand has a shift of its own, the sum a mult.
    """
    b = np.broadcast_to(b, a.shape)
    if round == "once":
        return scaled_sum(a, b, za, zb, ma, mb, shift, zy, lo, hi)
    each = {"zeros": (za, zb), "mults": (ma, mb), "shifts": (sa, sb)}
    return tflite_sum(a, b, **each, left=left, mult=mult, shift=shift, zero=zy, lo=lo, hi=hi)


def residuals() -> Iterator[tuple[Ints, str]]:
    """`residual` for a result that meets an operand of another scale, and the profile it is for."""
    for profile in ("once", "tflite"):
        numbers = dict.fromkeys(RESIDUAL, 0) | next(n for n in _numbers(0.6, 0.9) if n.get("round", "once") == profile)
        yield tuple(numbers[name] for name in RESIDUAL), profile


@qadd.cases
def _cases(rng: Rng) -> Cases:
    for a, b in int8_pairs(rng):
        for ra, rb in ((0.7, 0.4), (1.9, -1.3), (0.001, 0.9)):
            for numbers in _numbers(ra, rb):
                yield [a, b], numbers
    for a, b in int16_pairs(rng):
        *_, numbers = _numbers(0.7, -0.4)
        mult, shift = tflite_multiplier(2 * 0.7 / (1 << 15))
        yield [a, b], {**numbers, "left": 15, "mult": mult, "shift": shift, "lo": -32768, "hi": 32000}


def _numbers(ra: float, rb: float) -> Iterator[dict[str, Any]]:
    """The attributes of ra * a + rb * b in each profile."""
    zeros = {"za": -20, "zb": 33, "zy": -4, "lo": -100, "hi": 127}
    ma, mb, shift = sum_multipliers(ra, rb)
    yield {**zeros, "ma": ma, "mb": mb, "shift": shift}
    largest = 2 * max(ra, abs(rb))
    (ma, sa), (mb, sb) = (tflite_multiplier(abs(r) / largest) for r in (ra, rb))
    mult, shift = tflite_multiplier(largest / (1 << 20))
    each = {"ma": ma, "sa": sa, "mb": mb if rb > 0 else -mb, "sb": sb, "left": 20}
    yield {**zeros, **each, "mult": mult, "shift": shift, "round": "tflite"}
