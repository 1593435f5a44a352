"""Softmax on int8, exact: exponentials from a table, one integer division an output."""

from __future__ import annotations

import numpy as np

from brainc.numerics import multiplier, requant, softmax_probability, tflite_softmax
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8s


@op("x[M,N] table[256]c -> y[M,N]")
def qsoftmax(
    x: Array,
    table: Array,
    *,
    mult: int = 0,
    shift: int = 0,
    zy: int = -128,
    lo: int = -128,
    hi: int = 127,
    round: str = "once",
) -> Array:
    """y = requant(softmax_probability(table[max - x])), row by row.

    table (int32) holds exp(-d * scale) with 16 fractional bits for d = 0..255. Needs N <= 32768.
    With `tflite` y = tflite_softmax(table[max - x]): the table has 31 fractional bits, y 8, and N <= 4095.
    """
    wide = x.astype(np.int32)
    weights = table[wide.max(axis=-1, keepdims=True) - wide]
    if round == "once":
        return requant(softmax_probability(weights).astype(np.int32), mult, shift, zy, lo, hi)
    return tflite_softmax(weights.astype(np.int64))


@qsoftmax.cases
def _cases(rng: Rng) -> Cases:
    mult, shift = multiplier(256 / 32768)
    for scale in (0.02, 0.4):
        exact = np.exp(-np.arange(256) * scale)
        table, fine = np.rint(exact * 65536).astype(np.int32), np.rint(exact * ((1 << 31) - 1)).astype(np.int32)
        for shape in ((1, 1), (3, 7), (1, 12), (2, 100)):
            yield [int8s(rng, shape), table], {"mult": mult, "shift": shift, "zy": -128}
            yield [int8s(rng, shape), fine], {"round": "tflite"}
        yield [np.full((1, 4095), 77, np.int8), fine], {"round": "tflite"}
