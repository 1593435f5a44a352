"""Tensors joined along an axis, any element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import op


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
