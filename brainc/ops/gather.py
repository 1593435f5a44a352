"""Rows of a constant table, any element type: an embedding."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, TensorType, op


@op("table[V,K]c index[...] -> y[...2]")
def gather(table: Array, index: Array) -> Array:
    """y[..., K] = table[index]; -V..-1 count from the end, and what lies beyond either end is held there."""
    rows = index.astype(np.int64)
    return np.asarray(table[np.clip(np.where(rows < 0, rows + len(table), rows), 0, len(table) - 1)])


@gather.result
def _result(table: TensorType, index: TensorType) -> TensorType:
    return TensorType(table.dtype, (*index.shape, table.shape[1]))


@gather.cases
def _cases(rng: Rng) -> Cases:
    odd = np.array([[0, 4, -1, -5], [5, -6, 2**31 - 1, -(2**31)]], np.int32)
    for dtype in (np.int8, np.int32, np.float32):
        table = (rng.standard_normal((5, 3)) * 50).astype(dtype)
        yield [table, odd], {}
        yield [table[:1], np.array([0], np.int32)], {}
