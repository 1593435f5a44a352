"""Two-dimensional convolution on int8 with weights of 4 bits, exact."""

from __future__ import annotations

from brainc.numerics import PROFILES, requant
from brainc.ops import Array, Cases, Ints, Rng, op
from brainc.ops._samples import WINDOWS, int4_layer, offsets
from brainc.ops._windows import WINDOW, window_result, windows
from brainc.ops.qdense4 import grouped


@op(
    "x[B,H,W,C] w[F,KH,KW,C]c:i4 s[F,G]c:u8 b[F]c:i16 -> y[B,OH,OW,F]",
    macs="B*OH*OW*F*KH*KW*C",
    shared=WINDOW,
    result=window_result,
)
def qconv4(
    x: Array,
    w: Array,
    s: Array,
    b: Array,
    *,
    group: int,
    up: int,
    mult: int,
    shift: int,
    zx: int,
    zy: int,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
    **window: Ints,
) -> Array:
    """`qdense4` of every window, laid out as w is, its filters in one line each; the border is zx."""
    cols = windows(x, w.shape[1:3], zx, **window)
    acc = grouped(cols.reshape(-1, w[0].size), w.reshape(len(w), -1), s, b, group, up)
    return requant(acc.reshape(*cols.shape[:3], len(w)), mult, shift, zy, lo, hi, round)


@qconv4.cases
def _cases(rng: Rng) -> Cases:
    for number, (kernel, shape, geometry) in enumerate(WINDOWS):
        filters, terms = (5, 8)[number % 2], kernel[0] * kernel[1] * shape[3]
        group = (terms, shape[3], 16)[number % 3]
        given = {**geometry, **offsets(rng), "round": tuple(PROFILES)[number % 2]}
        yield from int4_layer(rng, shape, (filters, *kernel, shape[3]), group, given)
