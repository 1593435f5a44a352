"""Mean (or sum) along the middle axis on int8, exact."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.numerics import requant
from brainc.ops import op


@op("x[M,K,N] -> y[M,N]")
def qmean(
    x: Array,
    *,
    zx: int,
    mult: int,
    shift: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant(sum over K of (x - zx)); the division by K is in mult / 2^shift."""
    return requant((x.astype(np.int32) - zx).sum(axis=1), mult, shift, zy, lo, hi)
