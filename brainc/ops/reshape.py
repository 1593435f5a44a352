"""The same elements under another shape: a view, never a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import ints, op


@op("x[...] -> y[...]")
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """y = x in the order of rows, with another shape (all sizes given)."""
    return x.reshape(shape)


@reshape.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, shape = ins[0], ints(attrs["shape"])
    assert x is not None
    return (TensorType(x.dtype, shape),)
