"""A place between two reals: how a gate mixes what was with what comes."""

from __future__ import annotations

import numpy as np

from brainc.errors import ModelError
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import floats


@op("a[...] b[...2] t[...3] -> y[...]")
def lerp(a: Array, b: Array, t: Array) -> Array:
    """y = a + t * (b - a), element by element; all of one shape."""
    return np.asarray((a + t * (b - a)).astype(a.dtype))


@lerp.result
def same_shapes(a: TensorType, b: TensorType, t: TensorType, **_: object) -> TensorType:
    """The type of a; ModelError where the shapes differ."""
    if not a.shape == b.shape == t.shape:
        raise ModelError(f"lerp: {a}, {b} and {t} differ in shape", fix="make them equal")
    return TensorType(a.dtype, a.shape)


@lerp.cases
def _cases(rng: Rng) -> Cases:
    for shape in ((1,), (2, 7), (1, 3, 5, 4)):
        yield [floats(rng, shape), floats(rng, shape), rng.random(shape).astype(np.float32)], {}
