"""Filters laid out for four of them walking abreast: wanted by cores that multiply one number at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array


def columns4(w: Array, env: Mapping[str, Any]) -> Array:
    """w [N, ...] int8 to [ceil(N/4), K, 4]: a term of each of four filters; missing filters are zero."""
    flat = w.reshape(w.shape[0], -1)
    padded = np.pad(flat, ((0, -flat.shape[0] % 4), (0, 0)))
    return padded.reshape(-1, 4, padded.shape[1]).transpose(0, 2, 1)
