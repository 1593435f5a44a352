"""Layers with weights of 4 bits as one stream of bytes, two rows side by side.

Wanted by the kernels of the 8-bit AVR. A byte holds a weight of either row, 8 more each, so that products are unsigned;
numbers that they meet have 128 added, and what that adds is taken off the biases here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.dtypes import Array

HEAD = (("mult", 3), ("zy", 2), ("lo", 1), ("hi", 1))
RUN = 256  # columns, at most, whose sums are kept before they are scaled


def pairs4(w: Array, s: Array, b: Array, env: Mapping[str, Any]) -> Array:
    """w [N, ...] of -8..7, s [N,G] and b [N] to bytes, pair after pair of rows; an odd number ends in one of nothing.

    Before them stand the layer's factor in three bytes, its zero point in two, the least and the most of its results.
    A pair is three bytes of the first row's bias (16 times, without the lowest byte, which is 0) and three of the
    second's; then for every run of a group a byte a column, the first row's weight above, and the scales of both.
    """
    group, up = int(env["group"]), int(env["up"])
    flat = w.reshape(len(w), -1).astype(np.int64)
    bias = (b.astype(np.int64) << up) - 128 * (flat * s.astype(np.int64).repeat(group, axis=1)[:, : flat.shape[1]]).sum(
        axis=1
    )
    odd = ((0, len(w) % 2), (0, 0))
    rows, scales = np.pad(flat, odd) + 8, np.pad(s, odd)
    begin = np.pad(bias, odd[0]) * np.tile([16, 1], len(rows) // 2)
    starts = begin.astype("<i8").view(np.uint8).reshape(-1, 2, 8)
    both = (rows[::2] * 16 + rows[1::2]).astype(np.uint8)
    parts = [starts[:, 0, 1:4], starts[:, 1, :3]]
    for first in range(0, flat.shape[1], group):
        last, scale = min(first + group, flat.shape[1]), scales[:, first // group].reshape(-1, 2)
        for at in range(first, last, RUN):
            parts += [both[:, at : min(at + RUN, last)], scale]
    head = [int(env[name]).to_bytes(size, "little", signed=True) for name, size in HEAD]
    return np.concatenate([np.frombuffer(b"".join(head), np.uint8), np.concatenate(parts, axis=1).reshape(-1)]).view(
        np.int8
    )
