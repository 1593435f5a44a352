"""Activations of a language model in blocks of 8 bits, for the layers behind."""

from __future__ import annotations

from brainc.dtypes import A8
from brainc.lanes import BLOCK, quantised
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._blocks import counted
from brainc.ops._samples import floats, ragged


@op("x[M,K] n[1]?:i32 -> y[M,B]:a8", bits=True)
def block8(x: Array, n: Array | None) -> Array:
    """y = x in blocks of 32 (`lanes.quantised`); K is a multiple of 32. Of M rows the first n are computed."""
    return counted(quantised(x), n)


@block8.result
def _result(x: TensorType, n: TensorType | None = None) -> TensorType:
    return TensorType(A8, (x.shape[0], x.shape[1] // BLOCK))


@block8.cases
def _cases(rng: Rng) -> Cases:
    for m, k in ((1, 32), (1, 576), (3, 96)):
        yield from ragged([floats(rng, (m, k), 3.0)], m)
