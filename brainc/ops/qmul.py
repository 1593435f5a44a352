"""Product of two int8 activations, element by element, exact."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.numerics import requant
from brainc.ops import op


@op("a[...] b[...2] -> y[...]")
def qmul(
    a: Array,
    b: Array,
    *,
    za: int,
    zb: int,
    mult: int,
    shift: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant((a - za) * (b - zb)); b's shape is a's, or its last axes."""
    return requant((a.astype(np.int32) - za) * (b.astype(np.int32) - zb), mult, shift, zy, lo, hi)
