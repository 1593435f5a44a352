"""Weights of 4 bits, two to a byte.

Wanted by kernels that walk a row group by group; each group begins with a byte of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array


def nibbles(w: Array, env: Mapping[str, Any]) -> Array:
    """w [N, ...] of -8..7 to bytes [N, B]: of every two in a group the first is the low half; odd groups end in 0."""
    flat, group = w.reshape(w.shape[0], -1), int(env["group"])
    parts = [flat[:, start : start + group] for start in range(0, flat.shape[1], group)]
    even = np.concatenate([np.pad(part, ((0, 0), (0, part.shape[1] % 2))) for part in parts], axis=1)
    return ((even[:, ::2] & 15) | (even[:, 1::2] << 4)).astype(np.int8)
