"""What the ops of language models share: blocks opened, rows that are there, sample blocks.

Called by the files beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from brainc.dtypes import BF16, F16, F32, W4, W4M, W5, W5M, W6, W8, Array, DType, of_numpy
from brainc.ir import TensorType
from brainc.lanes import BLOCK, quantised
from brainc.ops import Rng

WEIGHTS = (W4, W4M, W5, W5M, W6, W8)
REALS = (F32, F16, BF16)
LESS: Mapping[DType | None, int] = {W4: 8, W5: 16, W6: 32}  # what their numbers have too much


def numbers(type_: TensorType) -> int:
    """How many numbers a row (the last axis) holds."""
    return type_.shape[-1] * type_.dtype.block


def fields(w: Array) -> tuple[Array, Array, Array | None]:
    """Blocks [..., B] as (q int32 [..., B, 32], d float32 [..., B], m or None); a w4's q with its 8 taken off, a
    w5's with its 16. A w6 as two of 16, with 32 taken off."""
    kind, q, d, names = of_numpy(w.dtype), w["q"], w["d"].astype(np.float32), w.dtype.names or ()
    if q.dtype == np.uint8:
        q = np.concatenate([q & 15, q >> 4], axis=-1)
    if "h" in names:
        bits = np.unpackbits(w["h"], axis=-1, bitorder="little").reshape(*q.shape, -1)
        q = q | np.packbits(bits, axis=-1, bitorder="little")[..., 0] << 4
    whole = q.astype(np.int32) - LESS.get(kind, 0)
    if kind is W6:
        return whole.reshape(*w.shape[:-1], -1, 16), d.reshape(*w.shape[:-1], -1), None
    return whole, d, w["m"].astype(np.float32) if "m" in names else None


def reals(w: Array) -> Array:
    """What blocks, or numbers of 16 bits, stand for: float32 [..., K]; d * q and + m each rounded."""
    kind = of_numpy(w.dtype)
    if kind is BF16:
        return (w["bits"].astype(np.uint32) << 16).view(np.float32)
    if kind not in WEIGHTS:
        return w.astype(np.float32)
    q, d, m = fields(w)
    found = d[..., None] * q.astype(np.float32)
    found = found if m is None else found + m[..., None]
    return found.reshape(*w.shape[:-1], -1)


def counted(y: Array, n: Array | None) -> Array:
    """y with the rows behind the first n[0] as zeros: they are not computed, and nobody reads them."""
    if n is not None:
        y = y.copy()
        y[int(n[0]) :] = np.zeros((), y.dtype)
    return y


def blocks(rng: Rng, shape: tuple[int, int], kind: DType, spread: float = 0.1) -> Array:
    """Weights [N,K] of that kind, as a model file may have them: extremes, a block of zeros, tiny scales."""
    rows, columns = shape
    if kind in REALS:
        real = (rng.standard_normal(shape) * spread).astype(np.float32)
        return to_bf16(real) if kind is BF16 else real.astype(kind.numpy)
    w: Array = np.zeros((rows, columns // kind.block), kind.numpy)
    lo, hi = (-128, 128) if kind is W8 else (0, 256)
    w["q"] = rng.integers(lo, hi, w["q"].shape)
    w["d"] = rng.uniform(-spread, spread, w["d"].shape) / 8
    if "m" in (kind.numpy.names or ()):
        w["m"] = rng.uniform(-spread, spread, w.shape)
    if "h" in (kind.numpy.names or ()):
        w["h"] = rng.integers(0, 256, w["h"].shape)
    w["d"][:1, :1] = 0.0
    w["d"][-1:, -1:] = 3e-6  # no normal number of 16 bits
    return w


def to_bf16(w: Array) -> Array:
    """float32 to bf16, cut off."""
    found = np.zeros(w.shape, BF16.numpy)
    found["bits"] = w.view(np.uint32) >> 16
    return found


def activations(rng: Rng, shape: tuple[int, int]) -> Array:
    """a8 blocks of a float array [M,K]; the first is all zeros, in the second one number dwarfs the others."""
    x = rng.standard_normal(shape).astype(np.float32)
    x.reshape(-1)[:BLOCK] = 0.0
    x.reshape(-1)[BLOCK : BLOCK + 1] = -900.0
    return quantised(x)
