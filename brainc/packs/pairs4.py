"""Filters laid out for tiles of two: four terms of one filter, four of the next, and so on.

Wanted by kernels that multiply words of four bytes; what is missing to whole fours and pairs is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array


def pairs4(w: Array, env: Mapping[str, Any]) -> Array:
    """w [N, ...] int8 to [ceil(N/2), ceil(K/4), 2, 4], where K is the size of a filter."""
    return _interleave(w, rows=2, terms=4)


def quads4(w: Array, env: Mapping[str, Any]) -> Array:
    """w [N, ...] int8 to [ceil(N/4), ceil(K/4), 4, 4], where K is the size of a filter."""
    return _interleave(w, rows=4, terms=4)


def _interleave(w: Array, *, rows: int, terms: int) -> Array:
    flat = w.reshape(w.shape[0], -1)
    n, k = flat.shape
    padded = np.pad(flat, ((0, -n % rows), (0, -k % terms)))
    blocks = padded.reshape(-1, rows, padded.shape[1] // terms, terms)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3))
