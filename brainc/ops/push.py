"""A state that is a window over time moves on: the oldest leave, the newest come."""

from __future__ import annotations

import numpy as np

from brainc.errors import ModelError
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import floats, int8s


@op("state[...]! x[...2] -> ")
def push(state: Array, x: Array) -> tuple[Array, ...]:
    """state = what it holds but for its first x.size numbers, then x; no result. Its readers come after, in order."""
    state[...] = np.append(state.reshape(-1)[x.size :], x).reshape(state.shape)
    return ()


@push.result
def _result(state: TensorType, x: TensorType) -> None:
    if state.dtype != x.dtype or state.size < x.size:
        raise ModelError(f"push: the state is {state}, what comes {x}", fix="make the types equal, the state larger")


@push.cases
def _cases(rng: Rng) -> Cases:
    for state, x in (((1, 5, 1, 4), (1, 1, 1, 4)), ((6, 3), (4, 3)), ((7,), (7,))):
        yield [int8s(rng, state), int8s(rng, x)], {}
    yield [floats(rng, (1, 9)), floats(rng, (1, 2))], {}
