"""What the ops of language models share: blocks opened, rows that are there, sample blocks.

Called by the files beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from brainc.dtypes import BF16, F16, F32, W4, W4K, W4M, W5, W5K, W5M, W6K, W8, Array, DType, of_numpy
from brainc.ir import TensorType
from brainc.lanes import BLOCK, quantised
from brainc.ops import Rng

WEIGHTS = (W4, W4M, W5, W5M, W8, W4K, W5K, W6K)
REALS = (F32, F16, BF16)
LESS: Mapping[DType | None, int] = {W4: 8, W5: 16, W6K: 32}  # what their numbers have too much


def numbers(type_: TensorType) -> int:
    """How many numbers a row (the last axis) holds."""
    return type_.shape[-1] * type_.dtype.block


def fields(w: Array) -> tuple[Array, Array, Array | None]:
    """Weights [..., C] in blocks as (q int32 [..., B, 32], d float32 [..., B], m or None); a w4's q with its 8 taken
    off, a w5's with its 16. A w6k's are [..., 2 B, 16] and [..., 2 B], with 32 taken off. Scales of scales and offsets
    are multiplied out in float32."""
    kind, q, names, shape = of_numpy(w.dtype), w["q"], w.dtype.names or (), (*w.shape[:-1], -1)
    if q.dtype == np.uint8:
        q = np.concatenate([q & 15, q >> 4], axis=-1)
    if "h" in names:
        bits = np.unpackbits(w["h"], axis=-1, bitorder="little").reshape(*q.shape, -1)
        q = q | np.packbits(bits, axis=-1, bitorder="little")[..., 0] << 4
    whole = (q.astype(np.int32) - LESS.get(kind, 0)).reshape(*shape, 16 if kind is W6K else 32)
    scales = [w[name].astype(np.float32) for name in ("d", "m") if name in names]
    for i, step in enumerate(name for name in ("s", "o") if name in names):
        steps = w[step].reshape(*w.shape, -1).astype(np.float32)
        scales[i] = (scales[i][..., None] * steps).reshape(shape)
    return whole, scales[0], scales[1] if len(scales) > 1 else None


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
    names = kind.numpy.names or ()
    small = 64 if "s" in names else 1
    w["d"] = rng.uniform(-spread, spread, w.shape) / (8 * small)
    if "m" in names:
        w["m"] = rng.uniform(-spread, spread, w.shape) / small
    if "h" in names:
        w["h"] = rng.integers(0, 256, w["h"].shape)
    for steps in (name for name in ("s", "o") if name in names):
        w[steps] = rng.integers(-128, 128, w[steps].shape)
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
