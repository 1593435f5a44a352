"""Rules for moving numbers about: shapes, axes, slices, joins, borders; and for what is known without any input.

They work on every element type. The importer brings a result into the shape that the file gives it, so a rule need
only put the numbers into their order.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from math import prod

import numpy as np

from brainc.dtypes import Array
from brainc.frontends.moves import PIECES, broadcast, cut, refuse, take
from brainc.frontends.tflite.importer import Importer
from brainc.frontends.tflite.reader import NUMPY
from brainc.frontends.tflite.rules import Call, rule, scale_zero
from brainc.spec import moves_memory

LONGEST = 2**13  # cells of a resized or mirrored axis


@rule("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(g: Importer, c: Call) -> str:
    """To the shape that the file gives the result; where it leaves one open, the second operand says it."""
    if c.op != "RESHAPE" or not c.outs[0].open or c.input(1) not in g.known:
        return g.shaped(c.inputs[0], c.outs[0])
    shape, size = g.ints(c.inputs[1], "its shape"), prod(g.shape(c.inputs[0]))
    return g.reshape(c.inputs[0], [size // -prod(shape) if n < 0 else n for n in shape])


@rule("DENSIFY")
def densify(g: Importer, c: Call) -> str:
    """What is stored sparse is made whole when it is first read."""
    return c.inputs[0]


@rule("SHAPE")
def shape(g: Importer, c: Call) -> str:
    return g.constant(np.array(g.shape(c.inputs[0]), NUMPY[c.outs[0].type]), c.name)


@rule("TRANSPOSE")
def transpose(g: Importer, c: Call) -> str:
    old, perm = g.shape(c.inputs[0]), tuple(g.ints(c.inputs[1], "its axes"))
    if sorted(perm) != list(range(len(old))):
        raise ValueError(f"axes {perm} of {len(old)}")
    if moves_memory(old, perm):
        return g.emit("transpose", c.inputs[0], perm=perm)
    return g.reshape(c.inputs[0], [old[p] for p in perm])


@rule("CONCATENATION", "PACK")
def concat(g: Importer, c: Call) -> str:
    if c.op == "CONCATENATION" and c.option("FusedActivationFunction"):
        raise refuse("it has a fused activation", "express it as an op of its own")
    if any(t.quant != c.outs[0].quant for t in c.ins if t.type in ("INT8", "UINT8", "INT16")):
        raise refuse("its operands have other scales than its result", "quantise them alike")
    axis, parts = range(len(c.outs[0].shape))[c.option("Axis")], list(c.inputs)
    if c.op == "PACK":
        parts = [g.reshape(x, (*g.shape(x)[:axis], 1, *g.shape(x)[axis:])) for x in parts]
    if len({(*g.shape(x)[:axis], *g.shape(x)[axis + 1 :]) for x in parts}) > 1:
        raise ValueError("shapes differ beside the joined axis")
    return parts[0] if len(parts) == 1 else g.emit("concat", *parts, axis=axis)


@rule("SPLIT", "SPLIT_V", "UNPACK")
def split(g: Importer, c: Call) -> tuple[str, ...]:
    x = c.inputs[c.op == "SPLIT"]
    old, parts = g.shape(x), len(c.outs)
    where = c.option("Axis") if c.op == "UNPACK" else g.ints(c.inputs[2 * (c.op == "SPLIT_V")], "its axis")[0]
    axis = range(len(old))[where]
    sizes = g.ints(c.inputs[1], "its sizes") if c.op == "SPLIT_V" else [old[axis] // parts] * parts
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = old[axis] - sum(sizes) - 1
    if sum(sizes) != old[axis] or min(sizes) < 0:
        raise ValueError(f"the parts {sizes} are not {old[axis]}")
    return tuple(cut(g, x, {axis: range(*ends)}) for ends in pairwise([0, *accumulate(sizes)]))


@rule("SLICE")
def slice_(g: Importer, c: Call) -> str:
    old, starts = g.shape(c.inputs[0]), g.ints(c.inputs[1], "its begin")
    sizes = zip(starts, g.ints(c.inputs[2], "its sizes"), old, strict=True)
    ranges = {axis: range(s, n if size < 0 else s + size) for axis, (s, size, n) in enumerate(sizes)}
    if any(r.start < 0 or r.stop > old[axis] for axis, r in ranges.items()):
        raise ValueError(f"a slice {ranges} of {list(old)}")
    return cut(g, c.inputs[0], ranges)


@rule("STRIDED_SLICE")
def strided_slice(g: Importer, c: Call) -> str:
    """Of each axis a range, or (shrunk) one cell; a bit of a mask leaves out that axis's begin or end."""
    x, old = c.inputs[0], g.shape(c.inputs[0])
    if c.option("EllipsisMask") or c.option("NewAxisMask"):
        raise refuse("it has new axes or an ellipsis", "convert the model with plain slices")
    masks = [c.option(f"{word}Mask") for word in ("Begin", "End", "ShrinkAxis")]
    numbers = zip(*(g.ints(name, "its range") for name in c.inputs[1:]), strict=True)
    ranges = {}
    for axis, (begin, end, step) in enumerate(numbers):
        no_begin, no_end, shrunk = (mask >> axis & 1 for mask in masks)
        if shrunk:
            cell = range(old[axis])[begin]
            ranges[axis] = range(cell, cell + 1)
            continue
        end += begin if c.option("Offset", False) else 0
        ranges[axis] = range(*slice(None if no_begin else begin, None if no_end else end, step).indices(old[axis]))
    return cut(g, x, ranges)


@rule("GATHER")
def gather(g: Importer, c: Call) -> str:
    x, indices = c.inputs[0], g.array(c.inputs[1], "its indices")
    if c.option("BatchDims"):
        raise refuse("it gathers batch by batch")
    return take(g, x, range(len(g.shape(x)))[c.option("Axis")], indices.reshape(-1).tolist())


@rule("REVERSE_V2")
def reverse(g: Importer, c: Call) -> str:
    old = g.shape(c.inputs[0])
    axes = [range(len(old))[a] for a in g.ints(c.inputs[1], "its axes")]
    return cut(g, c.inputs[0], {a: range(old[a] - 1, -1, -1) for a in axes})


@rule("PAD", "PADV2")
def pad(g: Importer, c: Call) -> str:
    sides = g.array(c.inputs[1], "its sizes").reshape(-1, 2).tolist()
    before, after = (tuple(int(side[i]) for side in sides) for i in (0, 1))
    if min(*before, *after) < 0 or len(sides) != len(g.shape(c.inputs[0])):
        raise ValueError(f"borders {sides}")
    value = g.array(c.input(2), "its value").reshape(()) if c.input(2) else 0
    if not c.input(2) and c.ins[0].quant:
        value = scale_zero(c.outs[0])[1]
    if not any(before + after):
        return c.inputs[0]
    return g.emit("pad", c.inputs[0], before=before, after=after, value=float(value))


@rule("MIRROR_PAD")
def mirror_pad(g: Importer, c: Call) -> str:
    x, sides = c.inputs[0], g.array(c.inputs[1], "its sizes").reshape(-1, 2).tolist()
    for axis, side in enumerate(sides):
        if not any(side):
            continue
        if max(side) > PIECES or g.shape(x)[axis] > LONGEST:
            raise refuse(f"it mirrors more than {PIECES} cells, or an axis of more than {LONGEST}")
        mode = "symmetric" if c.option("Mode") else "reflect"
        cells = np.pad(np.arange(g.shape(x)[axis]), side, mode=mode)  # type: ignore[call-overload]
        x = take(g, x, axis, cells.tolist())
    return x


@rule("BROADCAST_TO")
def broadcast_to(g: Importer, c: Call) -> str:
    return broadcast(g, c.inputs[0], tuple(g.ints(c.inputs[1], "its shape")))


@rule("TILE")
def tile(g: Importer, c: Call) -> str:
    """Every axis gets one before it to repeat along."""
    pairs = list(zip(g.ints(c.inputs[1], "its repeats"), g.shape(c.inputs[0]), strict=True))
    apart = g.reshape(c.inputs[0], [n for _, size in pairs for n in (1, size)])
    return broadcast(g, apart, tuple(n for p in pairs for n in p))


@rule("FILL")
def fill(g: Importer, c: Call) -> str:
    return broadcast(g, c.inputs[1], tuple(g.ints(c.inputs[0], "its shape")))


@rule("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def blocks(g: Importer, c: Call) -> str:
    """Channels to squares of pixels and back: an axis is split, moved and joined."""
    s, (n, h, w, ch) = c.option("BlockSize", 1), g.shape(c.inputs[0])
    into = c.op == "SPACE_TO_DEPTH"
    apart = (n, h // s, s, w // s, s, ch) if into else (n, h, w, s, s, ch // (s * s))
    return g.emit("transpose", g.reshape(c.inputs[0], apart), perm=(0, 1, 3, 2, 4, 5))


@rule("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def batches(g: Importer, c: Call) -> str:
    """Blocks of pixels to batches and back: axes are split, moved and joined, after a border or before a crop."""
    x, (b, *size, ch) = c.inputs[0], g.shape(c.inputs[0])
    block, sides = g.ints(c.inputs[1], "its blocks"), g.array(c.inputs[2], "its borders").reshape(-1, 2).tolist()
    n = len(block)
    if len(size) != n or len(sides) != n:
        raise ValueError(f"blocks {block} and borders {sides} of {len(size)} axes")
    if c.op == "SPACE_TO_BATCH_ND":
        before, after = ((0, *(side[i] for side in sides), 0) for i in (0, 1))
        value = scale_zero(c.outs[0])[1] if c.outs[0].quant else 0
        x = g.emit("pad", x, before=before, after=after, value=float(value)) if any(before + after) else x
        pairs = [part for s, k in zip(g.shape(x)[1:], block, strict=False) for part in (s // k, k)]
        perm = (*range(2, 2 * n + 1, 2), 0, *range(1, 2 * n, 2), 2 * n + 1)
        return g.emit("transpose", g.reshape(x, (b, *pairs, ch)), perm=perm)
    apart = g.reshape(x, (*block, b // int(np.prod(block)), *size, ch))
    perm = (n, *(axis for i in range(n) for axis in (n + 1 + i, i)), 2 * n + 1)
    wide = [s * k for s, k in zip(size, block, strict=True)]
    whole = g.reshape(g.emit("transpose", apart, perm=perm), (b // int(np.prod(block)), *wide, ch))
    return cut(g, whole, {i + 1: range(side[0], wide[i] - side[1]) for i, side in enumerate(sides)})


@rule("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest(g: Importer, c: Call) -> str:
    """Whole factors are `upsample2d`; else each axis is picked from, cell by cell."""
    x, sizes, factors = c.inputs[0], g.ints(c.inputs[1], "its sizes"), []
    for axis, new in enumerate(sizes, 1):
        if not 0 < new <= LONGEST:
            raise refuse(f"it resizes to {new} cells")
        cells = nearest(c, g.shape(x)[axis], new)
        factor = new // g.shape(x)[axis]
        factors.append(factor if cells == [i // max(factor, 1) for i in range(new)] else 0)
        if not factors[-1]:
            x, factors[-1] = take(g, x, axis, cells), 1
    return g.emit("upsample2d", x, factors=tuple(factors)) if max(factors) > 1 else x


def nearest(c: Call, old: int, new: int) -> list[int]:
    """For each cell of a resized axis the one it comes from, in single precision."""
    corners, centres = c.option("AlignCorners", False), c.option("HalfPixelCenters", False)
    scale = np.float32(old - 1) / np.float32(new - 1) if corners and new > 1 else np.float32(old) / np.float32(new)
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5 if centres else 0)) * scale
    cells = np.floor(place + np.float32(0.5)) if corners else np.floor(place)
    return [int(i) for i in np.clip(cells, 0, old - 1)]


ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    **{"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "MAXIMUM": np.maximum, "MINIMUM": np.minimum},
    **{"FLOOR_DIV": np.floor_divide, "FLOOR_MOD": np.mod},
}


@rule(*ARITHMETIC, of="INT32")
@rule(*ARITHMETIC, of="INT64")
def arithmetic(g: Importer, c: Call) -> str:
    """Sizes and indices that follow from others."""
    a, b = (g.array(x, "its integers") for x in c.inputs)
    return g.constant(ARITHMETIC[c.op](a, b), c.name)


@rule("ARG_MAX", "ARG_MIN")
def arg_max(g: Importer, c: Call) -> str:
    x, old = c.inputs[0], g.shape(c.inputs[0])
    axis = range(len(old))[g.ints(c.inputs[1], "its axis")[0]]
    if axis != len(old) - 1:
        perm = (*(a for a in range(len(old)) if a != axis), axis)
        x = g.emit("transpose", x, perm=perm)
    if c.op == "ARG_MIN":
        if c.ins[0].type != "INT8":
            raise refuse(f"it works on {c.ins[0].type}; brainc knows it for INT8")
        x = g.emit("qlut", x, g.constant(np.arange(127, -129, -1).astype(np.int8), f"{c.name}/table"))
    return g.emit("argmax", g.reshape(x, (-1 if not old else int(np.prod(old)) // old[axis], old[axis])))
