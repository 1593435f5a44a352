"""Tiles hold what their docstring says: each number, scale and offset is found again by the words alone."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from brainc.dtypes import W6, W8, Array, DType
from brainc.ops._blocks import WEIGHTS, blocks
from brainc.packs.tiles import tiles


def plain(block: Array, k: int, kind: DType) -> int:
    """Number k of a block as its record holds it."""
    if kind is W8:
        return int(block["q"][k])
    low = int(block["q"][k % 16] >> (4 if k >= 16 else 0) & 15)
    if kind is W6:
        return low + 16 * (int(block["h"][k // 4]) >> 2 * (k % 4) & 3)
    return low + 16 * (int(block["h"][k // 8]) >> k % 8 & 1) if "h" in (kind.numpy.names or ()) else low


def unpacked(tile: bytes, r: int, kind: DType) -> tuple[bytes, list[int]]:
    """The scale (and the offset) of row r of a tile, as bytes, and its numbers."""
    heads = 2 if kind is W6 or "m" in (kind.numpy.names or ()) else 1
    scales = b"".join(tile[16 * i + 2 * r : 16 * i + 2 * r + 2] for i in range(heads))
    quarter, numbers = tile[16 * heads :], []
    for k in range(kind.block):
        v, j = divmod(k, 4)
        if kind is W8:
            numbers.append(struct.unpack_from("b", quarter, 32 * v + 4 * r + j)[0])
            continue
        byte = quarter[32 * (v % 4) + 4 * r + j]
        numbers.append(byte & 15 if k < 16 else byte >> 4)
        if kind is W6:
            numbers[-1] += 16 * (quarter[128 + 32 * (v // 4) + 4 * r + j] >> 2 * (v % 4) & 3)
        elif "h" in (kind.numpy.names or ()):
            numbers[-1] += 16 * (quarter[128 + 4 * r + j] >> v & 1)
    return scales, numbers


@pytest.mark.parametrize("kind", WEIGHTS, ids=str)
@pytest.mark.parametrize("rows", [1, 8, 13, 24])
def test_every_number_is_where_the_words_say(kind: DType, rows: int) -> None:
    w = blocks(np.random.default_rng(rows), (rows, 96), kind)
    packed, count = tiles(w, {}), w.shape[1]
    assert packed.dtype == np.uint8 and packed.ndim == 1
    groups, size = -(-rows // 8), 8 * kind.nbytes
    assert packed.size == groups * count * size
    data = packed.tobytes()
    for row in range(8 * groups):
        for b in range(count):
            start = (row // 8 * count + b) * size
            scales, numbers = unpacked(data[start : start + size], row % 8, kind)
            if row >= rows:
                assert not any(scales) and not any(numbers), "rows that are not there are zeros"
                continue
            block = w[row, b]
            assert scales == b"".join(block[name].tobytes() for name in ("d", "m") if name in (kind.numpy.names or ()))
            assert numbers == [plain(block, k, kind) for k in range(kind.block)]


@pytest.mark.parametrize("kind", WEIGHTS, ids=str)
def test_tiles_leave_the_weights_alone(kind: DType) -> None:
    w = blocks(np.random.default_rng(0), (9, 64), kind)
    before = w.tobytes()
    tiles(w, {})
    assert w.tobytes() == before
