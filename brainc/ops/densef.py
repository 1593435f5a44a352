"""Fully connected layer on reals with the same bits everywhere, for weights that are not in blocks."""

from __future__ import annotations

from brainc.dtypes import F32
from brainc.lanes import lane_sum
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._blocks import REALS, blocks, counted, reals
from brainc.ops._samples import floats, ragged


@op("x[M,K]:f32 w[N,K]c b[N]?c:f32 r[M,N]?:f32 n[1]?:i32 -> y[M,N]:f32", macs="M*N*K", bits=True)
def densef(x: Array, w: Array, b: Array | None, r: Array | None, n: Array | None) -> Array:
    """y = r + (lane_sum(x * w) + b), products rounded; w is f32, f16 or bf16."""
    sums = lane_sum(x[:, None, :] * reals(w)[None])
    sums = sums if b is None else sums + b
    return counted(sums if r is None else r + sums, n)


@densef.result
def _result(
    x: TensorType, w: TensorType, b: TensorType | None = None, r: TensorType | None = None, n: TensorType | None = None
) -> TensorType:
    return TensorType(F32, (x.shape[0], w.shape[0]))


@densef.cases
def _cases(rng: Rng) -> Cases:
    for kind in REALS:
        for m, rows, k in ((1, 1, 1), (1, 24, 576), (1, 11, 40), (5, 17, 50), (4, 9, 1300)):
            x, w = floats(rng, (m, k)), blocks(rng, (rows, k), kind)
            yield from ragged([x, w, floats(rng, (rows,)), floats(rng, (m, rows))], m)
        yield [floats(rng, (1, 64)), blocks(rng, (48, 64), kind)], {}
