"""Tensors joined along an axis, any element type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Rng, TensorType, op


@op("x[...]* -> y[...2]")
def concat(*x: Array, axis: int) -> Array:
    """y = all x one after the other along `axis` (>= 0)."""
    return np.concatenate(x, axis=axis)


@concat.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    first, axis = ins[0], int(attrs["axis"])  # type: ignore[arg-type]
    assert first is not None
    length = sum(t.shape[axis] for t in ins if t is not None)
    return (TensorType(first.dtype, (*first.shape[:axis], length, *first.shape[axis + 1 :])),)


@concat.cases
def _cases(rng: Rng) -> Cases:
    for dtype in (np.int8, np.float32):
        for axis, sizes in ((0, (1, 2)), (1, (3, 1, 2)), (3, (1, 4))):
            shapes = [[size if i == axis else n for i, n in enumerate((1, 2, 3, 4))] for size in sizes]
            yield [(rng.standard_normal(shape) * 50).astype(dtype) for shape in shapes], {"axis": axis}
