"""Fully connected layer on int8 with weights of 4 bits, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import PROFILES, requant
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import Geometry, int4_layer


def grouped(x: Array, w: Array, s: Array, b: Array, group: int, up: int) -> Array:
    """The sums of x [M,K] over rows w [N,K], every `group` terms of which a number of s [N,G] scales: int64 [M,N]."""
    scaled = w.astype(np.int64) * s.astype(np.int64).repeat(group, axis=1)[:, : w.shape[1]]
    return np.asarray(x.astype(np.int64) @ scaled.T + (b.astype(np.int64) << up))


@op("x[M,K] w[N,K]c:i4 s[N,G]c:u8 b[N]c:i16 -> y[M,N]", macs="M*N*K")
def qdense4(
    x: Array,
    w: Array,
    s: Array,
    b: Array,
    *,
    group: int,
    up: int,
    mult: int,
    shift: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant(sum over g of s[n,g] * (x @ w.T within group g) + (b << up)); G is K / group, rounded up.

    The last group may be short; s is 1..255; the offset -zx * sum(s * w) is already in b. Needs sums within int32.
    """
    return requant(grouped(x, w, s, b, group, up), mult, shift, zy, lo, hi, round)


@qdense4.cases
def _cases(rng: Rng) -> Cases:
    shapes = ((1, 1, 1, 1), (1, 16, 10, 16), (3, 7, 5, 4), (2, 33, 8, 64), (1, 600, 3, 128))
    for m, k, n, group in (*shapes, (1, 120, 18, 64), (2, 24, 6, 3), (1, 63, 9, 31), (1, 300, 2, 300)):
        for profile in PROFILES:
            attrs: Geometry = {"zy": int(rng.integers(-40, 40)), "lo": -120, "hi": 110, "round": profile}
            yield from int4_layer(rng, (m, k), (n, k), group, attrs)
