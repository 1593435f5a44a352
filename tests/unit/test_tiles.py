"""Tiles hold what their docstring says: each number, scale and offset is found again by the words alone."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from brainc.dtypes import W6K, W8, Array, DType
from brainc.ops._blocks import WEIGHTS, blocks
from brainc.packs.tiles import tiles


def plain(block: Array, k: int, kind: DType) -> int:
    """Number k of a block as its record holds it."""
    part = (k // 32,) if "s" in (kind.numpy.names or ()) else ()
    k %= 32
    if kind is W8:
        return int(block["q"][k])
    low = int(block["q"][(*part, k % 16)] >> (4 if k >= 16 else 0) & 15)
    if kind is W6K:
        return low + 16 * (int(block["h"][(*part, k // 4)]) >> 2 * (k % 4) & 3)
    return low + 16 * (int(block["h"][(*part, k // 8)]) >> k % 8 & 1) if "h" in (kind.numpy.names or ()) else low


def unpacked(tile: bytes, r: int, kind: DType) -> list[int]:
    """The 32 numbers of row r of a tile, without what is before them."""
    numbers = []
    for k in range(32):
        v, j = divmod(k, 4)
        if kind is W8:
            numbers.append(struct.unpack_from("b", tile, 32 * v + 4 * r + j)[0])
            continue
        byte = tile[32 * (v % 4) + 4 * r + j]
        numbers.append(byte & 15 if k < 16 else byte >> 4)
        if kind is W6K:
            numbers[-1] += 16 * (tile[128 + 32 * (v // 4) + 4 * r + j] >> 2 * (v % 4) & 3)
        elif "h" in (kind.numpy.names or ()):
            numbers[-1] += 16 * (tile[128 + 4 * r + j] >> v & 1)
    return numbers


def opened(data: bytes, r: int, kind: DType) -> tuple[list[bytes], list[int]]:
    """What row r has in a block of eight rows: its scales, offsets and their steps, as bytes, and its numbers."""
    names = kind.numpy.names or ()
    heads = 2 if "m" in names else 1
    found, at, numbers = [data[16 * i + 2 * r : 16 * i + 2 * r + 2] for i in range(heads)], 16 * heads, []
    steps, size = 2 if "s" in names else 0, (len(data) - at) * 32 // kind.block
    for part in range(kind.block // 32):
        tile = data[at + part * size : at + (part + 1) * size]
        found += [tile[8 * i + r : 8 * i + r + 1] for i in range(steps)]
        numbers += unpacked(tile[8 * steps :], r, kind)
    return found, numbers


def expected(block: Array, kind: DType) -> list[bytes]:
    names = kind.numpy.names or ()
    found = [block[name].tobytes() for name in ("d", "m") if name in names]
    for part in range(8 if "s" in names else 0):
        for name in ("s", "o"):
            steps = block[name][part : part + 1].tobytes() if name in names else b""
            found += [steps[i : i + 1] for i in range(len(steps))]
    return found


@pytest.mark.parametrize("kind", WEIGHTS, ids=str)
@pytest.mark.parametrize("rows", [1, 8, 13, 24])
def test_every_number_is_where_the_words_say(kind: DType, rows: int) -> None:
    w = blocks(np.random.default_rng(rows), (rows, 3 * kind.block), kind)
    packed, count = tiles(w, {}), w.shape[1]
    assert packed.dtype == np.uint8 and packed.ndim == 1
    groups, size = -(-rows // 8), 8 * kind.nbytes
    assert packed.size == groups * count * size
    data = packed.tobytes()
    for row in range(8 * groups):
        for b in range(count):
            start = (row // 8 * count + b) * size
            scales, numbers = opened(data[start : start + size], row % 8, kind)
            if row >= rows:
                assert not any(map(any, scales)) and not any(numbers), "rows that are not there are zeros"
                continue
            assert scales == expected(w[row, b], kind)
            assert numbers == [plain(w[row, b], k, kind) for k in range(kind.block)]


@pytest.mark.parametrize("kind", WEIGHTS, ids=str)
def test_tiles_leave_the_weights_alone(kind: DType) -> None:
    w = blocks(np.random.default_rng(0), (9, 512), kind)
    before = w.tobytes()
    tiles(w, {})
    assert w.tobytes() == before
