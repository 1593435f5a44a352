"""Product of two int8 activations, exact."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.numerics import requant
from brainc.ops import op


@op("a[B,M,K] b[B,K,N] -> y[B,M,N]", macs="B*M*N*K")
def qmatmul(
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
    """y = requant((a - za) @ (b - zb)), batch by batch."""
    acc = np.matmul(a.astype(np.float64) - za, b.astype(np.float64) - zb).astype(np.int64)
    return requant(acc, mult, shift, zy, lo, hi)
