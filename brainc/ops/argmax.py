"""Where the largest of a row is."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Rng, op


@op("x[M,N] -> y[M]:i32")
def argmax(x: Array) -> Array:
    """y = index of the first largest element of each row."""
    return np.asarray(np.argmax(x, axis=-1)).astype(np.int32)


@argmax.cases
def _cases(rng: Rng) -> Cases:
    ties = np.array([[3, 9, 9, 1], [-1, -1, -1, -1]])
    for dtype in (np.float32, np.int8):
        for x in (ties, rng.standard_normal((3, 11)) * 40, np.ones((2, 1))):
            yield [x.astype(dtype)], {}
