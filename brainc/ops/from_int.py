"""Integers to reals: the door out of an integer brain."""

from __future__ import annotations

from brainc import numerics
from brainc.dtypes import Array
from brainc.ops import op


@op("x[...] -> y[...]:f32")
def from_int(x: Array, *, scale: float, zero: int) -> Array:
    """y = (x - zero) * scale, in float32."""
    return numerics.from_int(x, scale, zero)
