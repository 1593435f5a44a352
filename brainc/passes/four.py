"""Weights of 4 bits: found for a float layer, or kept as a file has them, and struck into a layer of bytes.

Knocks: `quantize.py` with a layer's real weights; `integer.py` with a layer whose weights are 4-bit already. Leaves:
integers of -8..7 with a scale for every group, and the operands of `qdense4` or `qconv4`. A file's integers are never
changed: only their scales are rounded, to a byte each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainc import numerics
from brainc.dtypes import I4, I16, I32, U8, Array
from brainc.errors import UnsupportedError
from brainc.ir import Attr, Node, Quant, TensorType, Value, const_value
from brainc.passes.build import WINDOW, Build, quantise, real_constant

GROUP = 32  # terms that share a scale, unless the user says otherwise
LOW, HIGH, LARGEST = -8, 7, 255
LEAST = 31  # what the largest scale may be held to, so that sums stay within 24 bits
FINEST = 8  # on a grid the largest weight is 1 to 8 steps
BETWEEN = 7  # scales tried between two of those
BIAS_LIMIT = 1 << 29  # steps of a layer's sums
SLACK = 1 << 12  # more than rounding a bias adds to sums of 24 bits
COARSE = 4  # bits of them that no bias needs where 256 of them are one of the result
NARROW, WIDE = 15, 23  # bits of a layer's factor, so that its shift is whole bytes


def may(node: Node) -> bool:
    """Whether a layer can have weights of 4 bits: dense, or a convolution of all channels with all."""
    return node.op in ("dense", "conv2d") and node.attrs.get("group", 1) == 1


def holds(node: Node, type_: TensorType) -> bool:
    """Whether this layer has weights of 4 bits that `qdense4` or `qconv4` can take (else they are widened)."""
    quant = type_.quant
    if type_.dtype is not I4 or quant is None or not may(node):
        return False
    return not any(quant.zero) and (quant.axis in (None, 0) if not quant.block else _runs(type_, quant) > 0)


def _runs(type_: TensorType, quant: Quant) -> int:
    """The terms that share a scale when a filter is laid out in one line; 0 if its blocks do not follow each other."""
    if not quant.block or quant.axis is None:
        return int(np.prod(type_.shape[1:]))
    size = type_.shape[-1]
    block = min(quant.block, size)
    whole = size % block == 0 or type_.size == type_.shape[0] * size
    return block if quant.axis == len(type_.shape) - 1 and whole else 0


def _scales(type_: TensorType, quant: Quant) -> Array:
    """The scale of each run of each filter: float64 [N,G]."""
    grid = quant.grid(type_.shape)
    scales = np.reshape(np.asarray(quant.scale, np.float64), (grid[0], -1))
    return np.broadcast_to(scales, (type_.shape[0], scales.shape[1]))


def weights(old: Value, bias: Value, node: Node, scale_x: float, group: int) -> tuple[Value, Value]:
    """(weights of 4 bits, bias int32) of a dense or conv2d: as they are, or found for `group` terms a scale."""
    if not holds(node, old.type):
        array, quant = found(real_constant(old), group)
        old = const_value(old.name, array, I4, quant, old.where)
    kept, real = old.type.quant, real_constant(bias)
    assert kept is not None
    step = Quant.tensor(scale_x * _step(_scales(old.type, kept), real, scale_x), 0)
    return old, const_value(bias.name, quantise(real, step, -(1 << 31), (1 << 31) - 1), I32, step, node.where)


def _step(scales: Array, bias: Array, scale_x: float) -> float:
    """What a group's byte counts: the largest scale is 255 of them, unless the bias needs larger steps."""
    return max(float(scales.max()) / LARGEST, float(np.abs(bias).max(initial=0.0)) / (scale_x * BIAS_LIMIT))


def found(real: Array, group: int) -> tuple[Array, Quant]:
    """Real weights [N, ...] to integers of 4 bits and their scales, by least squares; a grid they lie on is found.

    Blocks run along the last axis; where they do not fit into it, as in most windows, a filter has one scale.
    """
    shape = real.shape
    in_blocks = len(shape) == 2 or shape[-1] % group == 0
    rows = real.reshape(-1, shape[-1]) if in_blocks else real.reshape(shape[0], -1)
    size = min(group, shape[-1]) if in_blocks else rows.shape[1]
    cells = np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))).reshape(len(rows), -1, size)
    array, scales = nearest(cells)
    array = array.reshape(len(rows), -1)[:, : rows.shape[1]].reshape(shape)
    flat = tuple(scales.reshape(-1).tolist())
    return array, Quant(flat, (0,) * len(flat), len(shape) - 1 if in_blocks else 0, size if in_blocks else 0)


def nearest(cells: Array) -> tuple[Array, Array]:
    """Groups of reals [..., k] to (integers of -8..7, scales [...]) that are nearest in the sum of squares.

    Tried are scales of which the largest weight is 1 to 8 steps, and some between; each is fitted to the integers that
    it gives. So reals on a grid of whole steps come back as they were.
    """
    largest = np.abs(cells).max(axis=-1, keepdims=True)
    largest = np.maximum(largest, max(float(largest.max()) * 1e-6, 1e-30))
    best, least = np.full(largest.shape, np.inf), 1e-12 * np.square(cells).sum(axis=-1, keepdims=True)
    array, scales = np.zeros(cells.shape), largest.copy()
    for steps in np.linspace(1, FINEST, (FINEST - 1) * (BETWEEN + 1) + 1):
        steady = np.clip(np.rint(cells * (steps / largest)), LOW, HIGH)
        square = np.square(steady).sum(axis=-1, keepdims=True)
        fitted = (cells * steady).sum(axis=-1, keepdims=True) / np.maximum(square, 1)
        scale = np.where(fitted > 0, fitted, largest / steps)
        error = np.square(cells - steady * scale).sum(axis=-1, keepdims=True)
        better = error < best - least  # of equals the coarsest
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        array = np.where(better, steady, array)
    return array.astype(np.int8), scales[..., 0]


def in_four_bits(build: Build, node: Node) -> bool:
    """dense and conv2d with weights of 4 bits: a byte for each group's scale, one factor for the layer."""
    x, w, b = node.inputs
    type_ = build.type(w)
    quant = type_.quant
    if not holds(node, type_) or quant is None:
        return False
    (sx, zx), (sy, _) = build.tensor(x), build.tensor(node.outputs[0])
    group, array = _runs(type_, quant), build.values[w].array().astype(np.int64)
    rows = array.reshape(len(array), -1)
    layer = _layer(rows, group, _scales(type_, quant), real_constant(build.values[b]) / sx, zx)
    bias, up = _in_16_bits(layer.bias, COARSE if sx * layer.step / sy < 1 / 256 else 0)
    mult, shift = factor(sx * layer.step / sy, layer.most)
    made = (("s", layer.s, U8), ("b", bias, I16))
    constants = tuple(build.const(f"{node.name}/{key}", array, dtype, node) for key, array, dtype in made)
    given: dict[str, Attr] = {"group": group, "up": up, "mult": mult, "shift": shift, **build.result(node)}
    if node.op == "conv2d":
        given |= {k: v for k, v in node.attrs.items() if k in WINDOW} | {"zx": zx}
    return build.emit(node, "qdense4" if node.op == "dense" else "qconv4", (x, w, *constants), **given)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Scales as bytes [N,G], what one of them counts, the bias in such steps [N], and the most a sum can be."""

    s: Array
    step: float
    bias: Array
    most: int


def _layer(rows: Array, group: int, scales: Array, bias: Array, zx: int) -> _Layer:
    """The layer whose largest scale is 255, or so much less as keeps its sums within 24 bits; bias is over scale_x."""
    step = _step(scales, bias, 1.0)
    whole = narrow = _with_step(step, rows, group, scales, bias, zx)
    while narrow.most >= 1 << 23 and narrow.s.max() >= LEAST:
        step *= max(narrow.most / (1 << 23), 1.001)
        narrow = _with_step(step, rows, group, scales, bias, zx)
    return narrow if narrow.most < 1 << 23 else whole


def _with_step(step: float, rows: Array, group: int, scales: Array, bias: Array, zx: int) -> _Layer:
    s = np.clip(np.rint(scales / step), 1, LARGEST).astype(np.int64)
    each = rows * s.repeat(group, axis=1)[:, : rows.shape[1]]
    whole = np.rint(bias / step) - zx * each.sum(axis=1)
    above, below = np.maximum(each, 0).sum(axis=1), -np.minimum(each, 0).sum(axis=1)
    most = np.maximum(127 * above + 128 * below, 128 * above + 127 * below) + np.abs(whole)
    return _Layer(s, step, whole, int(most.max()) + SLACK)


def _in_16_bits(bias: Array, least: int) -> tuple[Array, int]:
    """Whole numbers (float64) as (int16 numbers, how far they are to be shifted up, no less than `least`)."""
    up = least
    while np.abs(np.rint(bias / (1 << up))).max(initial=0) > np.iinfo(np.int16).max:
        up += 1
    if up > 30 - 15:
        what = "a bias of a layer with 4-bit weights does not fit into 31 bits"
        raise UnsupportedError(what, fix="quantise the layer with larger scales, or leave it in float")
    return np.rint(bias / (1 << up)), up


def factor(real: float, most: int) -> tuple[int, int]:
    """(mult, shift) of a layer whose sums are at most `most`: 32 bits to shift, or other whole bytes where that would
    leave mult without the bits it needs (or with more than 23)."""
    shift = 32
    while real * 2.0**shift >= 1 << WIDE and shift > 8:
        shift -= 8
    while real * 2.0**shift < 1 << NARROW and most >= 1 << WIDE and shift < 56:
        shift += 8
    mult = round(real * 2.0**shift)
    return (mult, shift) if mult < 1 << WIDE else numerics.multiplier(real)
