"""Rows of int8 brought to length 1, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import inverse_root, requant
from brainc.ops import Array, Cases, Rng, op
from brainc.ops._samples import int8s


@op("x[M,N] -> y[M,N]")
def ql2norm(x: Array, *, zx: int) -> Array:
    """y = (x - zx) / sqrt(sum of its squares), in 128ths, rounded twice: by inverse_root of a row's sum. N <= 32768."""
    v = x.astype(np.int64) - zx
    mult, shift = inverse_root(np.square(v).sum(axis=-1, keepdims=True))
    return requant(v, mult, shift - 7, 0, round="tflite")


@ql2norm.cases
def _cases(rng: Rng) -> Cases:
    for shape in ((1, 1), (3, 7), (2, 100), (1, 4000)):
        for zx in (-128, 0, 77):
            yield [int8s(rng, shape)], {"zx": zx}
    yield [np.array([[5, 5, 5], [5, 6, 5], [5, 5, 7]], np.int8)], {"zx": 5}  # nothing at all, and little
