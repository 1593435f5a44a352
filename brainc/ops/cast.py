"""The same numbers as another element type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import DTYPES, Array
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Rng, TensorType, op


@op("x[...] -> y[...]")
def cast(x: Array, *, to: str) -> Array:
    """y = x converted as C does (towards zero)."""
    return x.astype(DTYPES[to].numpy)


@cast.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    assert ins[0] is not None
    return (TensorType(DTYPES[str(attrs["to"])], ins[0].shape),)


@cast.cases
def _cases(rng: Rng) -> Cases:
    whole = rng.integers(-100, 101, 30)
    for source, to in (
        ("f4", "i32"),
        ("i4", "f32"),
        ("f4", "i64"),
        ("i8", "f32"),
        ("i4", "i64"),
        ("i8", "i32"),
        ("i1", "f32"),
        ("?", "f32"),
        ("f4", "bool"),
        ("i1", "i32"),
        ("i4", "i8"),
    ):
        yield [(whole * (1.25 if source == "f4" else 1)).astype(source)], {"to": to}
    yield [np.arange(256).astype(np.uint8)], {"to": "f32"}
