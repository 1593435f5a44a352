"""Weights in blocks as tiles of eight rows: what a matrix product of a language model walks through."""

from __future__ import annotations

import numpy as np

from brainc.dtypes import Array
from brainc.expressions import Env

ROWS = 8


def tiles(w: Array, env: Env) -> Array:
    """Blocks [N,C] to bytes: eight rows after eight rows (filled up with zeros), in each block after block.

    A tile is d f16[8], m f16[8] if there are any, and 32 numbers of each row, four of a row beside four of the next:
    byte 32 v + 4 r + j is what row r has at k = 4 v + j. Two numbers in a byte: k = 4 v + j below, k + 16 above.
    Fifth bits are 32 bytes behind them: bit v of byte 4 r + j is row r's at k = 4 v + j. Fifths and sixths are 32 bytes
    for each half of the 32: bits 2 v and on of byte 4 r + j, v counted in the half.

    A block of eight parts is d f16[8], m f16[8] if there are any, and eight tiles; instead of d and m these have
    s int8[8], one for each half where there are two, and o int8[8].
    """
    rows, names = -(-len(w) // ROWS) * ROWS, w.dtype.names or ()
    whole = np.zeros((rows, w.shape[1]), w.dtype)
    whole[: len(w)] = w
    groups = whole.reshape(-1, ROWS, w.shape[1]).swapaxes(1, 2)  # [G,C,8]
    stepped, reals = "s" in names, ("d", "m")
    parts = {n: _parts(groups[n], 8 if stepped and n not in reals else 1) for n in names}  # [G,C,P,8,..]
    fours = parts["q"].reshape(*parts["q"].shape[:-1], -1, 4).swapaxes(3, 4)  # [G,C,P,v,8,4]
    scales = [parts[name].swapaxes(3, 4) for name in ("d", "m", "s", "o") if name in names]
    shared, own = [s for s in scales if s.dtype == np.float16], [s for s in scales if s.dtype != np.float16]
    highs = [_across(parts["h"])] if "h" in names else []
    return _beside([*shared, _beside([*own, fours, *highs], 3)], 2).reshape(-1)


def _parts(field: Array, count: int) -> Array:
    """What the rows have in each of `count` parts of a block: [G,C,8,..] to [G,C,P,8,n]."""
    return field.reshape(*field.shape[:3], count, -1).swapaxes(2, 3)


def _beside(parts: list[Array], kept: int) -> Array:
    """The bytes of all, one behind the other, along what comes after the first `kept` axes."""
    flat = [np.ascontiguousarray(part).reshape(*part.shape[:kept], -1).view(np.uint8) for part in parts]
    return np.concatenate(flat, axis=-1)


def _across(h: Array) -> Array:
    """Bits of the rows' numbers 4 v + j, [..,8,4 or 8] bytes, as those of bytes [..,8,j], or [..,half,8,j]."""
    parts = h.shape[-1] // 4
    bits = np.unpackbits(h, axis=-1, bitorder="little").reshape(*h.shape[:-1], parts, 8 // parts, 4, parts)
    across = np.moveaxis(bits, -4, -5).swapaxes(-2, -3)  # [G,B,part,8,j,v,bit]
    return np.packbits(across.reshape(*across.shape[:-2], 8), axis=-1, bitorder="little")
