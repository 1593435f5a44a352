"""Product of two int8 (or int16) activations, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import requant
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import both_rounds, int8s, int16s, scales


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
    return requant(acc, mult, shift, zy, lo, hi, round, a.dtype)


@qmatmul.cases
def _cases(rng: Rng) -> Cases:
    for b, m, k, n in ((1, 1, 1, 1), (1, 4, 16, 8), (3, 2, 5, 7)):
        (mult,), (shift,) = scales(rng, 1, k)
        attrs = {"za": -17, "zb": 90, "mult": int(mult), "shift": int(shift), "zy": 3}
        yield from both_rounds([int8s(rng, (b, m, k)), int8s(rng, (b, k, n))], {**attrs})
        wide = {"za": 0, "zb": 0, "mult": int(mult) >> 16, "shift": int(shift) - 8, "zy": 0, "lo": -32768, "hi": 32767}
        yield [int16s(rng, (b, m, k)), int16s(rng, (b, k, n))], {**wide, "round": "once"}
