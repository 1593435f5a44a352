"""A picture of another size, each pixel mixed from the four around its place; real numbers, channels last."""

from __future__ import annotations

import numpy as np

from brainc.ops import Array, Cases, Ints, Rng, TensorType, op
from brainc.ops._samples import floats


def places(old: int, new: int, corners: bool, centres: bool) -> tuple[Array, Array, Array]:
    """For each cell of a resized axis: the two cells that it lies between, and its way from the first, 0..1."""
    scale = np.float32(old - 1) / np.float32(new - 1) if corners and new > 1 else np.float32(old) / np.float32(new)
    half = np.float32(0.5 if centres else 0.0)
    place = np.maximum((np.arange(new, dtype=np.float32) + half) * scale - half, 0)
    first = np.minimum(np.floor(place).astype(np.int64), old - 1)
    return first, np.minimum(first + 1, old - 1), np.clip(place - first, 0, 1)


@op("x[B,H,W,C] -> y[B,OH,OW,C]")
def bilinear2d(x: Array, *, size: Ints, corners: int = 0, centres: int = 0) -> Array:
    """y is x stretched to `size` (OH, OW).

    `corners`: the corner pixels of x and y lie on each other. `centres`: a pixel's place is its middle.
    """
    for axis, new in enumerate(size, 1):
        first, second, way = places(x.shape[axis], new, bool(corners), bool(centres))
        way = way.astype(x.dtype).reshape(-1, *(1,) * (3 - axis))
        x = x.take(first, axis) * (1 - way) + x.take(second, axis) * way
    return x


@bilinear2d.result
def _result(x: TensorType, *, size: Ints, corners: int, centres: int) -> TensorType:
    return TensorType(x.dtype, (x.shape[0], *size, x.shape[3]))


@bilinear2d.cases
def _cases(rng: Rng) -> Cases:
    for shape, size in (((1, 3, 4, 5), (6, 8)), ((2, 5, 1, 3), (3, 4)), ((1, 4, 7, 1), (1, 5)), ((1, 1, 3, 2), (4, 3))):
        for corners, centres in ((0, 0), (1, 0), (0, 1)):
            yield [floats(rng, shape)], {"size": size, "corners": corners, "centres": centres}
