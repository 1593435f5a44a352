"""Integers to reals: the door out of an integer brain."""

from __future__ import annotations

import numpy as np

from brainc import numerics
from brainc.ops import Array, Cases, Rng, op


@op("x[...] -> y[...]:f32")
def from_int(x: Array, *, scale: float, zero: int) -> Array:
    """y = (x - zero) * scale, in float32."""
    return numerics.from_int(x, scale, zero)


@from_int.cases
def _cases(rng: Rng) -> Cases:
    for dtype in ("i1", "u1", "i2", "u2"):
        limits = np.iinfo(dtype)
        x = np.linspace(limits.min, limits.max, 256).astype(dtype)
        yield [x], {"scale": 0.0173, "zero": int(x[77])}
    yield [rng.integers(-(10**6), 10**6, 20).astype(np.int32)], {"scale": 1e-4, "zero": 0}
