"""Fully connected layer on int8, exact."""

from __future__ import annotations

from brainc.dtypes import Array
from brainc.numerics import dot, requant
from brainc.ops import op


@op("x[M,K] w[N,K]c b[N]c mult[S]c shift[S]c -> y[M,N]", macs="M*N*K")
def qdense(
    x: Array,
    w: Array,
    b: Array,
    mult: Array,
    shift: Array,
    *,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant(x @ w.T + b); the offset -zx * sum(w) is already in b.

    S is 1 (one scale) or N (one a row of w). Needs an accumulator within int32.
    """
    return requant(dot(x, w) + b, mult, shift, zy, lo, hi)
