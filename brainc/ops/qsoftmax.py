"""Softmax on int8, exact: exponentials from a table, one integer division an output."""

from __future__ import annotations

import numpy as np

from brainc.numerics import multiplier, requant, softmax_probability
from brainc.ops import ROUND, Array, Cases, Rng, op
from brainc.ops._samples import int8s


@op("x[M,N] table[256]c -> y[M,N]", hints=ROUND)
def qsoftmax(x: Array, table: Array, *, mult: int, shift: int, zy: int, lo: int = -128, hi: int = 127) -> Array:
    """y = requant(softmax_probability(table[max - x])), row by row.

    table (int32) holds exp(-d * scale) with 16 fractional bits for d = 0..255. Needs N <= 32768.
    """
    wide = x.astype(np.int32)
    weights = table[wide.max(axis=-1, keepdims=True) - wide]
    return requant(softmax_probability(weights).astype(np.int32), mult, shift, zy, lo, hi)


@qsoftmax.cases
def _cases(rng: Rng) -> Cases:
    mult, shift = multiplier(256 / 32768)
    for scale in (0.02, 0.4):
        table = np.rint(np.exp(-np.arange(256) * scale) * 65536).astype(np.int32)
        for shape in ((1, 1), (3, 7), (1, 12), (2, 100)):
            yield [int8s(rng, shape), table], {"mult": mult, "shift": shift, "zy": -128}
