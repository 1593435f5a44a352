"""The same elements under another shape: a view, never a copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Ints, Rng, TensorType, ints, op


@op("x[...] -> y[...]")
def reshape(x: Array, *, shape: Ints) -> Array:
    """y = x in the order of rows, with another shape (all sizes given)."""
    return x.reshape(shape)


@reshape.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    x, shape = ins[0], ints(attrs["shape"])
    assert x is not None
    return (TensorType(x.dtype, shape),)


@reshape.cases
def _cases(rng: Rng) -> Cases:
    yield [rng.standard_normal((2, 3, 4)).astype(np.float32)], {"shape": (6, 4)}
