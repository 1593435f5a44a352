"""Sum of two int8 activations of different scales, exact."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.numerics import scaled_sum
from brainc.ops import op


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
) -> Array:
    """y = scaled_sum(a, b); a negative mb subtracts. b's shape is a's, or its last axes."""
    return scaled_sum(a, np.broadcast_to(b, a.shape), za, zb, ma, mb, shift, zy, lo, hi)
