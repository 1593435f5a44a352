"""The last row of those that are there."""

from __future__ import annotations

from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import floats, ragged


@op("x[M,K] n[1]:i32 -> y[1,K]", bits=True)
def last(x: Array, n: Array) -> Array:
    """y = x[n - 1], 1 <= n <= M."""
    return x[int(n[0]) - 1 : int(n[0])].copy()


@last.cases
def _cases(rng: Rng) -> Cases:
    yield from list(ragged([floats(rng, (5, 7))], 5))[1:]
