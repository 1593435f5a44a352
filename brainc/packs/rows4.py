"""Filters laid out for tiles of four: a term of each of four filters, then their next terms.

Wanted by kernels that read one stream of weights; what is missing to pairs of filters is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array


def rows4(w: Array, env: Mapping[str, Any]) -> Array:
    """w [N, ...] int8 to blocks [K, 4], one after the other; the last is [K, 2] if that is enough."""
    flat = w.reshape(w.shape[0], -1)
    padded = np.pad(flat, ((0, -flat.shape[0] % 2), (0, 0)))
    blocks = [padded[i : i + 4] for i in range(0, len(padded), 4)]
    return np.concatenate([block.T.reshape(-1) for block in blocks])
