"""The same numbers as another element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brainc.dtypes import DTYPES, Array
from brainc.ir import Attr, TensorType
from brainc.ops import op


@op("x[...] -> y[...]")
def cast(x: Array, *, to: str) -> Array:
    """y = x converted as C does (towards zero)."""
    return x.astype(DTYPES[to].numpy)


@cast.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    assert ins[0] is not None
    return (TensorType(DTYPES[str(attrs["to"])], ins[0].shape),)
