"""Fully connected layer on int8 (or int16, with int8 weights), exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import dot, requant
from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import Geometry, both_rounds, int8_layer, int8s, int16_layers, scales
from brainc.ops.qadd import residuals, with_residual


@op("x[M,K] w[N,K]c b[N]c mult[S]c shift[S]c r[M,N]? -> y[M,N]", macs="M*N*K")
def qdense(
    x: Array,
    w: Array,
    b: Array,
    mult: Array,
    shift: Array,
    r: Array | None = None,
    *,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
    residual: Ints = (),
) -> Array:
    """y = requant(x @ w.T + b); the offset -zx * sum(w) is already in b.

    An r is added as `qadd` adds, see RESIDUAL there. S is 1 (one scale) or N (one a row of w). Needs an accumulator
    within int32, or 48 bits for int16 rounded once.
    """
    return with_residual(requant(dot(x, w) + b, mult, shift, zy, lo, hi, round, x.dtype), r, residual, round)


@qdense.cases
def _cases(rng: Rng) -> Cases:
    for m, k, n in ((1, 1, 1), (1, 16, 10), (3, 7, 5), (5, 64, 12), (2, 33, 8), (1, 600, 3), (4, 24, 64)):
        for count in (n, 1):
            attrs: Geometry = {"zy": int(rng.integers(-40, 40)), "lo": -120, "hi": 110}
            yield from both_rounds(int8_layer(rng, (m, k), (n, k), n, count), attrs)
    b = np.array([1 << 30, -(1 << 30), 0, 12345], np.int32)  # the whole accumulator, and every kind of shift
    extreme = np.full((1, 64), -128, np.int8)
    for size in (1, 2, 30, 31, 32, 33, 62):
        mult, shift = scales(rng, 4, 64)
        operands = [extreme, int8s(rng, (4, 64)), b, mult, np.full_like(shift, size)]
        yield from both_rounds(operands, {"zy": -5})
    wide = int8_layer(rng, (1, 2100), (6, 2100), 6, 6)  # many terms, sums of 24 bits
    wide[1] = rng.integers(-20, 21, (6, 2100)).astype(np.int8)
    yield from both_rounds(wide, {"zy": 3})
    b = rng.integers(-(1 << 22), 1 << 22, 4).astype(np.int32)
    for size in (33, 36, 40, 41, 48, 49, 56, 57, 62):  # every way of shifting them
        shifted = [*operands[:2], b, mult, np.full(4, size, np.int8)]
        yield from both_rounds(shifted, {"zy": 3, "lo": 3 if size % 2 else -128})
    for m, k, n in ((3, 7, 5), (1, 600, 3)):
        yield from int16_layers(rng, (m, k), (n, k), {"zy": 0, "lo": -32768, "hi": 32767})
    for add, profile in residuals():
        layer, attrs = int8_layer(rng, (5, 12), (6, 12), 6, 6), {"zy": -7, "residual": add, "round": profile}
        yield [*layer, int8s(rng, (5, 6))], attrs
