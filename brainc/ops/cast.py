"""The same numbers as another element type."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import DTYPES
from brainc.ops import Array, Cases, Rng, TensorType, op

PAIRS = "f4>i32 i4>f32 f4>i64 i8>f32 i4>i64 i8>i32 i1>f32 ?>f32 f4>bool i1>i32 i4>i8"  # numpy's name > ours


@op("x[...] -> y[...]")
def cast(x: Array, *, to: str) -> Array:
    """y = x converted as C does (towards zero)."""
    return x.astype(DTYPES[to].numpy)


@cast.result
def _result(x: TensorType, *, to: str) -> TensorType:
    return TensorType(DTYPES[to], x.shape)


@cast.cases
def _cases(rng: Rng) -> Cases:
    whole = rng.integers(-100, 101, 30)
    for source, to in (pair.split(">") for pair in PAIRS.split()):
        yield [(whole * (1.25 if source == "f4" else 1)).astype(source)], {"to": to}
    for to in ("f32", "i32"):
        yield [np.arange(256).astype(np.uint8)], {"to": to}
