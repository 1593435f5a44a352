"""A state takes a new value: how a brain remembers from one call to the next."""

from __future__ import annotations

import numpy as np

from brainc.errors import ModelError
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import floats, int8s


@op("state[...]! x[...] -> ")
def assign(state: Array, x: Array) -> tuple[Array, ...]:
    """state = x, raw numbers; no result. Whoever reads the state in this call reads it before."""
    state[...] = x
    return ()


@assign.result
def _result(state: TensorType, x: TensorType) -> None:
    if (state.dtype, state.shape) != (x.dtype, x.shape):
        raise ModelError(f"assign: the state is {state}, the new value {x}", fix="make the types equal")


@assign.cases
def _cases(rng: Rng) -> Cases:
    for shape in ((1,), (3, 5), (1, 2, 3, 4)):
        yield [np.zeros(shape, np.int8), int8s(rng, shape)], {}
    yield [np.ones((2, 7), np.float32), floats(rng, (2, 7))], {}
