"""Tensors joined along an axis, any element type."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import floats, int8s


@op("x[...]* -> y[...2]")
def concat(*x: Array, axis: int) -> Array:
    """y = all x one after the other along `axis` (>= 0)."""
    return np.concatenate(x, axis=axis)


@concat.result
def _result(*x: TensorType, axis: int) -> TensorType:
    shape = x[0].shape
    return TensorType(x[0].dtype, (*shape[:axis], sum(t.shape[axis] for t in x), *shape[axis + 1 :]))


@concat.cases
def _cases(rng: Rng) -> Cases:
    for axis, sizes in ((0, (1, 2)), (1, (3, 1, 2)), (3, (1, 4))):
        shapes = [[size if i == axis else n for i, n in enumerate((1, 2, 3, 4))] for size in sizes]
        yield [int8s(rng, shape) for shape in shapes], {"axis": axis}
        yield [floats(rng, shape) for shape in shapes], {"axis": axis}
