"""A picture of another size, each pixel mixed from its four neighbours, on int8, exact."""

from __future__ import annotations

import numpy as np

from brainc.numerics import half_away_shift
from brainc.ops import Array, Cases, Rng, TensorType, op
from brainc.ops._samples import int8s

BITS = 10  # of a share


@op("x[B,H,W,C] rows[OH,3]c columns[OW,3]c -> y[B,OH,OW,C]")
def qresize2d(x: Array, rows: Array, columns: Array) -> Array:
    """y = the mix of two rows and two columns of x, rounded half away from zero, as TFLite rounds.

    rows and columns (int32) hold for each of y's the first and second of x's, and the share of the second in 1024ths.
    """
    wide, whole = x.astype(np.int64), 1 << BITS
    (top, bottom, low), (left, right, aside) = rows.T.astype(np.int64), columns.T.astype(np.int64)
    low, aside = low[:, None, None], aside[:, None]
    tall = wide[:, top] * (whole - low) + wide[:, bottom] * low
    total = tall[:, :, left] * (whole - aside) + tall[:, :, right] * aside
    return half_away_shift(total, 2 * BITS).astype(np.int8)


@qresize2d.result
def _result(x: TensorType, rows: TensorType, columns: TensorType) -> TensorType:
    return TensorType(x.dtype, (x.shape[0], rows.shape[0], columns.shape[0], x.shape[3]))


@qresize2d.cases
def _cases(rng: Rng) -> Cases:
    for (_, h, w, _), (high, wide) in (((1, 3, 4, 5), (6, 7)), ((2, 5, 5, 1), (3, 2)), ((1, 1, 6, 3), (4, 1))):
        lists = []
        for old, new in ((h, high), (w, wide)):
            first = rng.integers(0, old, new)
            lists.append(np.stack([first, np.minimum(first + 1, old - 1), rng.integers(0, 1024, new)], 1))
        yield [int8s(rng, (1, h, w, 3)), *(a.astype(np.int32) for a in lists)], {}
