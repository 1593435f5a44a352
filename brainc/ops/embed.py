"""Rows of a table of weights as reals: what the symbols of a language model are."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import F32, W5M, W8
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._blocks import REALS, WEIGHTS, blocks, counted, numbers, reals


@op("table[V,B]c token[M]:i32 n[1]?:i32 -> y[M,K]:f32", bits=True)
def embed(table: Array, token: Array, n: Array | None, *, scale: float = 1.0) -> Array:
    """y = scale * table[token]; a token beyond either end is held there. Of M rows the first n are computed."""
    rows = reals(table[np.clip(token, 0, len(table) - 1)])
    return counted(np.float32(scale) * rows, n)


@embed.result
def _result(table: TensorType, token: TensorType, n: TensorType | None = None, *, scale: float = 1.0) -> TensorType:
    return TensorType(F32, (token.shape[0], numbers(table)))


@embed.cases
def _cases(rng: Rng) -> Cases:
    for kind in (*WEIGHTS, *REALS):
        table = blocks(rng, (11, 96 * max(1, kind.block // 32)), kind)
        yield [table, np.array([10, -1, 0, 99], np.int32), np.array([3], np.int32)], {}
    for kind in (W8, W5M):
        yield [blocks(rng, (40, 64), kind), np.array([33], np.int32)], {"scale": 25.298221}
