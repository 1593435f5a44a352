"""Mean (or sum) along the middle axis on int8 (or, as TFLite rounds, int16), exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import multiplier, requant, requant_even
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import Geometry, both_rounds, int8s, int16s


@op("x[M,K,N] -> y[M,N]")
def qmean(
    x: Array, *, zx: int, mult: int, shift: int, zy: int, lo: int = -128, hi: int = 127, round: str = "once"
) -> Array:
    """y = requant_even(sum over K of (x - zx)); the division by K is in mult / 2^shift.

    With `tflite` it is requant in that profile: no ties to even.
    """
    total = (x.astype(np.int32) - zx).sum(axis=1)
    if round == "once":
        return requant_even(total, mult, shift, zy, lo, hi)
    return requant(total, mult, shift, zy, lo, hi, round, x.dtype)


@qmean.cases
def _cases(rng: Rng) -> Cases:
    for m, k, n in ((1, 1, 1), (3, 7, 5), (1, 49, 64), (2, 4, 1)):
        mult, shift = multiplier(0.9 / k)
        attrs: Geometry = {"zx": -30, "mult": mult, "shift": shift, "zy": 11, "hi": 100}
        yield from both_rounds([int8s(rng, (m, k, n))], {**attrs})
        wide: Geometry = {"zx": 0, "zy": 0, "lo": -32768, "hi": 30000, "round": "tflite"}
        yield [int16s(rng, (m, k, n))], {**attrs, **wide}
