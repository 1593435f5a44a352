"""Weights in blocks as tiles of eight rows: what a matrix product of a language model walks through."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.expressions import Env

ROWS = 8


def tiles(w: Array, env: Env) -> Array:
    """Blocks [N,B] to bytes: eight rows after eight rows (filled up with zeros), in each block after block.

    A tile is d f16[8], m f16[8] or a second d if there are any, and the numbers, four of a row beside four of the next:
    byte 32 v + 4 r + j is what row r has at k = 4 v + j. Two numbers in a byte: k = 4 v + j below, k + 16 above.
    Fifth bits are 32 bytes behind them: bit v of byte 4 r + j is row r's at k = 4 v + j. Fifths and sixths are 32 bytes
    for each half of the block, which has its own d: bits 2 v and on of byte 4 r + j, v counted in the half.
    """
    rows, names = -(-len(w) // ROWS) * ROWS, w.dtype.names or ()
    whole = np.zeros((rows, w.shape[1]), w.dtype)
    whole[: len(w)] = w
    groups = whole.reshape(-1, ROWS, w.shape[1]).swapaxes(1, 2)  # [G,B,8]
    q = groups["q"].reshape(*groups.shape, -1, 4).swapaxes(2, 3)  # [G,B,v,8,4]
    scales = [groups[name].reshape(*groups.shape, -1).swapaxes(2, 3) for name in ("d", "m") if name in names]
    highs = [_across(groups["h"])] if "h" in names else []
    parts = [np.ascontiguousarray(part).view(np.uint8).reshape(*groups.shape[:2], -1) for part in (*scales, q, *highs)]
    return np.concatenate(parts, axis=-1).reshape(-1)


def _across(h: Array) -> Array:
    """Bits of the rows' numbers 4 v + j, [G,B,8,4 or 8] bytes, as those of bytes [G,B,8,j], or [G,B,half,8,j]."""
    parts = h.shape[-1] // 4
    bits = np.unpackbits(h, axis=-1, bitorder="little").reshape(*h.shape[:-1], parts, 8 // parts, 4, parts)
    across = np.moveaxis(bits, -4, -5).swapaxes(-2, -3)  # [G,B,part,8,j,v,bit]
    return np.packbits(across.reshape(*across.shape[:-2], 8), axis=-1, bitorder="little")
