"""A state takes a new value: how a brain remembers from one call to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from brainc.dtypes import Array
from brainc.errors import ModelError
from brainc.ir import Attr, TensorType
from brainc.ops import Array, Cases, Rng, TensorType, op


@op("state[...]! x[...] -> ")
def assign(state: Array, x: Array) -> tuple[Array, ...]:
    """state = x, raw numbers; no result. Whoever reads the state in this call reads it before."""
    state[...] = x
    return ()


@assign.result
def _result(ins: Sequence[TensorType | None], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
    state, x = ins
    assert state is not None and x is not None
    if (state.dtype, state.shape) != (x.dtype, x.shape):
        raise ModelError(f"assign: the state is {state}, the new value {x}", fix="make the types equal")
    return ()


@assign.cases
def _cases(rng: Rng) -> Cases:
    for shape in ((1,), (3, 5), (1, 2, 3, 4)):
        yield [np.zeros(shape, np.int8), rng.integers(-128, 128, shape).astype(np.int8)], {}
    yield [np.ones((2, 7), np.float32), rng.standard_normal((2, 7)).astype(np.float32)], {}
