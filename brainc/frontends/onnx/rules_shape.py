"""Rules for moving numbers about: shapes, axes, slices, joins; and for what is known without any input.

The importer finds these by their names; they work on any element type.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from brainc.frontends.moves import LONGEST, PIECES, broadcast, cut, refuse, take
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.model import import_branch
from brainc.frontends.onnx.rules import Call, rule_of_any, rule_of_constants


def listed(g: Importer, c: Call, key: str, index: int) -> list[int] | None:
    """A list of integers that old opsets keep in an attribute and later ones in an operand."""
    if c.input(index):
        return g.ints(c.inputs[index], key)
    return [int(n) for n in c.attrs[key]] if key in c.attrs else None


@rule_of_constants("Identity", "Dropout")
def identity(g: Importer, c: Call) -> str:
    if c.input(2) and any(g.ints(c.inputs[2], "training_mode")):
        raise refuse("it is in training mode", "export the model for inference")
    return c.inputs[0]


@rule_of_constants("Constant")
def constant(g: Importer, c: Call) -> str:
    ((key, value),) = c.attrs.items()
    if key != "value":
        if key.rstrip("s") not in ("value_float", "value_int"):
            raise refuse(f"it is a {key}")
        value = np.asarray(value, np.float32 if "float" in key else np.int64)
    return g.constant(value, c.outputs[0])


@rule_of_constants("Shape", "Size")
def shape(g: Importer, c: Call) -> str:
    sizes = np.array(g.shape(c.inputs[0]), np.int64)
    part = sizes[c.attrs.get("start", 0) : c.attrs.get("end")]
    return g.constant(np.int64(sizes.prod()) if c.op == "Size" else part, c.outputs[0])


@rule_of_constants("If")
def if_(g: Importer, c: Call) -> tuple[str, ...]:
    """The branch of a constant condition."""
    condition = any(g.ints(c.inputs[0], "its condition"))
    return import_branch(g, c, c.attrs["then_branch" if condition else "else_branch"])


@rule_of_constants("Transpose")
def transpose(g: Importer, c: Call) -> str:
    axes = list(range(len(g.shape(c.inputs[0]))))
    perm = c.attrs.get("perm", axes[::-1])
    if sorted(perm) != axes:
        raise ValueError(f"perm {list(perm)} of {len(axes)} axes")
    return g.transpose(c.inputs[0], perm)


@rule_of_constants("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(g: Importer, c: Call) -> str:
    for name in c.inputs[1:]:
        g.ints(name, "shape")
    return g.reshape(c.inputs[0], g.results(c)[0])


@rule_of_any("Concat")
def concat(g: Importer, c: Call) -> str:
    axis = range(len(g.shape(c.inputs[0])))[c.attrs["axis"]]
    rests = {(*g.shape(x)[:axis], *g.shape(x)[axis + 1 :]) for x in c.inputs}
    if len(rests) > 1 or len({g.dtype(x) for x in c.inputs}) > 1:
        raise ValueError("shapes or types differ beside the joined axis")
    return c.inputs[0] if len(c.inputs) == 1 else g.emit("concat", *c.inputs, axis=axis)


@rule_of_any("Split")
def split(g: Importer, c: Call) -> tuple[str, ...]:
    x = c.inputs[0]
    axis, ends = range(len(g.shape(x)))[c.attrs.get("axis", 0)], [0]
    listed(g, c, "split", 1)
    for shape in g.results(c):
        ends.append(ends[-1] + shape[axis])
    if ends[-1] != g.shape(x)[axis]:
        raise ValueError(f"the parts are {ends[-1]} of {g.shape(x)[axis]}")
    return tuple(cut(g, x, {axis: range(*part)}) for part in pairwise(ends))


@rule_of_any("Slice")
def slice_(g: Importer, c: Call) -> str:
    x, old = c.inputs[0], g.shape(c.inputs[0])
    starts, ends = listed(g, c, "starts", 1) or [], listed(g, c, "ends", 2) or []
    axes = listed(g, c, "axes", 3) or range(len(starts))
    steps, ranges = listed(g, c, "steps", 4) or [1] * len(starts), {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        ranges[range(len(old))[axis]] = range(*slice(start, end, step).indices(old[axis]))
    return cut(g, x, ranges)


@rule_of_any("Gather")
def gather(g: Importer, c: Call) -> str:
    """By constant indices slices; by any others, rows of a constant table."""
    x, axis = c.inputs[0], range(len(g.shape(c.inputs[0])))[c.attrs.get("axis", 0)]
    if c.inputs[1] not in g.known and x in g.known:
        return picked(g, x, c.inputs[1], axis)
    indices = g.array(c.inputs[1], "its index")
    taken = take(g, x, axis, indices.reshape(-1)[: LONGEST + 1].tolist())
    return g.reshape(taken, (*g.shape(x)[:axis], *indices.shape, *g.shape(x)[axis + 1 :]))


def picked(g: Importer, table: str, index: str, axis: int) -> str:
    """The axis first and all others in one row; afterwards the indices' axes stand where it stood."""
    old, chosen = g.shape(table), g.shape(index)
    turned = g.transpose(table, [axis, *(a for a in range(len(old)) if a != axis)])
    rows = g.reshape(turned, (old[axis], prod(old) // old[axis]))
    if g.dtype(index) != np.int32:
        index = g.emit("cast", index, to="i32")
    found = g.reshape(g.emit("gather", rows, index), (*chosen, *old[:axis], *old[axis + 1 :]))
    before, depth = range(len(chosen), len(chosen) + axis), len(chosen) + len(old) - 1
    return g.transpose(found, [*before, *range(len(chosen)), *range(len(chosen) + axis, depth)])


@rule_of_any("Pad")
def pad(g: Importer, c: Call) -> str:
    """By a number, which may also cut (negative pads); or by the tensor's own cells, axis by axis."""
    x, mode, old = c.inputs[0], c.attrs.get("mode", "constant"), g.shape(c.inputs[0])
    pads = listed(g, c, "pads", 1) or []
    axes = listed(g, c, "axes", 3) or range(len(pads) // 2)
    sides = {range(len(old))[a]: (pads[i], pads[len(axes) + i]) for i, a in enumerate(axes)}
    if mode != "constant":
        for axis, side in sides.items():
            if max(side) > old[axis] * PIECES:
                raise refuse(f"it pads by more than {PIECES} times the axis")
            x = take(g, x, axis, np.pad(np.arange(old[axis]), side, mode=mode).tolist())
        return x
    value = g.array(c.inputs[2], "its value") if c.input(2) else np.float32(c.attrs.get("value", 0.0))
    x = cut(g, x, {a: range(max(-p, 0), old[a] + min(q, 0)) for a, (p, q) in sides.items()})
    before, after = (tuple(max(sides.get(a, (0, 0))[i], 0) for a in range(len(old))) for i in (0, 1))
    if not any(before + after):
        return x
    return g.emit("pad", x, before=before, after=after, value=float(np.asarray(value).reshape(())))


@rule_of_any("Expand")
def expand(g: Importer, c: Call) -> str:
    g.ints(c.inputs[1], "shape")
    return broadcast(g, c.inputs[0], g.results(c)[0])


@rule_of_any("Tile")
def tile(g: Importer, c: Call) -> str:
    """Every axis gets one before it to repeat along."""
    pairs = list(zip(g.ints(c.inputs[1], "repeats"), g.shape(c.inputs[0]), strict=True))
    apart = g.reshape(c.inputs[0], [n for _, size in pairs for n in (1, size)])
    return g.reshape(broadcast(g, apart, tuple(n for p in pairs for n in p)), [r * n for r, n in pairs])


@rule_of_any("DepthToSpace", "SpaceToDepth")
def blocks(g: Importer, c: Call) -> str:
    """Channels to squares of pixels and back: an axis is split, moved and joined."""
    s, (n, ch, h, w) = int(c.attrs["blocksize"]), g.shape(c.inputs[0])
    first, deep = c.attrs.get("mode", "DCR") == "DCR", ch // (s * s)
    perm: Sequence[int] = (0, 3, 4, 1, 5, 2) if first else (0, 1, 4, 2, 5, 3)
    apart = (n, s, s, deep, h, w) if first else (n, deep, s, s, h, w)
    if c.op == "SpaceToDepth":
        perm, apart = np.argsort(perm).tolist(), (n, ch, h // s, s, w // s, s)
    return g.reshape(g.transpose(g.reshape(c.inputs[0], apart), perm), g.results(c)[0])
