"""Rules for moving numbers about: shapes, axes, slices, joins; and for what is known without any input.

The importer finds these by their names; they work on any element type.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.model import import_branch
from brainc.frontends.onnx.rules import Call, refuse, rule
from brainc.frontends.onnx.rules_math import broadcast

PIECES = 64  # a selection of more runs than this is not made of slices
LONGEST = 2**20  # cells along an axis that are picked one by one


def positive(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def listed(g: Importer, c: Call, key: str, index: int) -> list[int] | None:
    """A list of integers that old opsets keep in an attribute and later ones in an operand."""
    if c.input(index):
        return g.ints(c.inputs[index], key)
    return [int(n) for n in c.attrs[key]] if key in c.attrs else None


def cut(g: Importer, x: str, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> str:
    """A slice; nothing at all if it takes everything."""
    if tuple(sizes) == g.shape(x) and all(s == 1 for s in steps):
        return x
    return g.emit("slice", x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def span(g: Importer, x: str, axis: int, start: int, size: int, step: int = 1) -> str:
    """A slice along one axis."""
    rank, sizes = len(g.shape(x)), list(g.shape(x))
    sizes[axis] = size
    return cut(g, x, [start * (i == axis) for i in range(rank)], sizes, _steps(rank, axis, step))


def _steps(rank: int, axis: int, step: int) -> list[int]:
    return [step if i == axis else 1 for i in range(rank)]


def take(g: Importer, x: str, axis: int, indices: Sequence[int]) -> str:
    """x[indices] along an axis, as slices of equal step, joined."""
    size = g.shape(x)[axis]
    if len(indices) > LONGEST:
        raise refuse(f"it selects more than {LONGEST} cells of an axis")
    picks = [positive(i, size) for i in indices]
    parts: list[str] = []
    while picks:
        step = picks[1] - picks[0] if len(picks) > 1 else 1
        run = 1
        while step and run < len(picks) and picks[run] - picks[run - 1] == step:
            run += 1
        parts.append(span(g, x, axis, picks[0], run, step if run > 1 else 1))
        picks = picks[run:]
        if len(parts) > PIECES:
            raise refuse(f"it selects in more than {PIECES} runs")
    return parts[0] if len(parts) == 1 else g.emit("concat", *parts, axis=axis)


@rule("Identity", any_type=True, constants=True)
def identity(g: Importer, c: Call) -> str:
    return c.inputs[0]


@rule("Dropout", any_type=True, constants=True)
def dropout(g: Importer, c: Call) -> str:
    if c.input(2) and any(g.ints(c.inputs[2], "training_mode")):
        raise refuse("it is in training mode", "export the model for inference")
    return c.inputs[0]


@rule("Constant", any_type=True, constants=True)
def constant(g: Importer, c: Call) -> str:
    (key,) = c.attrs
    if key == "value":
        return g.constant(c.attrs[key], c.outputs[0])
    if key.rstrip("s") not in ("value_float", "value_int"):
        raise refuse(f"it is a {key}")
    return g.constant(np.asarray(c.attrs[key], np.float32 if "float" in key else np.int64), c.outputs[0])


@rule("Shape", any_type=True, constants=True)
def shape(g: Importer, c: Call) -> str:
    sizes = np.array(g.shape(c.inputs[0]), np.int64)
    return g.constant(sizes[c.attrs.get("start", 0) : c.attrs.get("end")], c.outputs[0])


@rule("Size", any_type=True, constants=True)
def size(g: Importer, c: Call) -> str:
    return g.constant(np.int64(prod(g.shape(c.inputs[0]))), c.outputs[0])


@rule("If", any_type=True, constants=True)
def if_(g: Importer, c: Call) -> tuple[str, ...]:
    """The branch of a constant condition."""
    condition = any(g.ints(c.inputs[0], "its condition"))
    return import_branch(g, c, c.attrs["then_branch" if condition else "else_branch"])


@rule("Transpose", any_type=True, constants=True)
def transpose(g: Importer, c: Call) -> str:
    rank = len(g.shape(c.inputs[0]))
    perm = c.attrs.get("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise ValueError(f"perm {list(perm)} of {rank} axes")
    return g.transpose(c.inputs[0], perm)


@rule("Reshape", any_type=True, constants=True)
def reshape(g: Importer, c: Call) -> str:
    x, wanted = c.inputs[0], g.ints(c.inputs[1], "shape")
    old = g.shape(x)
    if not c.attrs.get("allowzero", 0):
        wanted = [old[i] if n == 0 else n for i, n in enumerate(wanted)]
    if -1 in wanted:
        rest = prod(n for n in wanted if n != -1)
        wanted[wanted.index(-1)] = prod(old) // max(rest, 1)
    return g.reshape(x, wanted)


@rule("Flatten", any_type=True, constants=True)
def flatten(g: Importer, c: Call) -> str:
    old, axis = g.shape(c.inputs[0]), c.attrs.get("axis", 1)
    axis += len(old) if axis < 0 else 0
    return g.reshape(c.inputs[0], (prod(old[:axis]), prod(old[axis:])))


@rule("Squeeze", any_type=True, constants=True)
def squeeze(g: Importer, c: Call) -> str:
    old, axes = g.shape(c.inputs[0]), listed(g, c, "axes", 1)
    if axes is None:
        axes = [i for i, n in enumerate(old) if n == 1]
    gone = {positive(a, len(old)) for a in axes}
    return g.reshape(c.inputs[0], [n for i, n in enumerate(old) if i not in gone])


@rule("Unsqueeze", any_type=True, constants=True)
def unsqueeze(g: Importer, c: Call) -> str:
    old, axes = list(g.shape(c.inputs[0])), listed(g, c, "axes", 1) or []
    rank = len(old) + len(axes)
    for axis in sorted(positive(a, rank) for a in axes):
        old.insert(axis, 1)
    return g.reshape(c.inputs[0], old)


@rule("Concat", any_type=True)
def concat(g: Importer, c: Call) -> str:
    axis = positive(c.attrs["axis"], len(g.shape(c.inputs[0])))
    rests = {(*g.shape(x)[:axis], *g.shape(x)[axis + 1 :]) for x in c.inputs}
    if len(rests) > 1 or len({g.dtype(x) for x in c.inputs}) > 1:
        raise ValueError("shapes or types differ beside the joined axis")
    return c.inputs[0] if len(c.inputs) == 1 else g.emit("concat", *c.inputs, axis=axis)


@rule("Split", any_type=True)
def split(g: Importer, c: Call) -> tuple[str, ...]:
    x = c.inputs[0]
    axis = positive(c.attrs.get("axis", 0), len(g.shape(x)))
    size, parts = g.shape(x)[axis], len(c.outputs)
    sizes = listed(g, c, "split", 1)
    if sizes is None:
        each = -(-size // parts)
        sizes = [each] * (parts - 1) + [size - each * (parts - 1)]
    if len(sizes) != parts or sum(sizes) != size:
        raise ValueError(f"split {sizes} of {size}")
    return tuple(span(g, x, axis, sum(sizes[:i]), n) for i, n in enumerate(sizes))


@rule("Slice", any_type=True)
def slice_(g: Importer, c: Call) -> str:
    x, old = c.inputs[0], g.shape(c.inputs[0])
    starts, ends = listed(g, c, "starts", 1) or [], listed(g, c, "ends", 2) or []
    axes = listed(g, c, "axes", 3) or list(range(len(starts)))
    steps = listed(g, c, "steps", 4) or [1] * len(starts)
    ranges = [range(n) for n in old]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        where = positive(axis, len(old))
        ranges[where] = range(*slice(start, end, step).indices(old[where]))
    return cut(g, x, [r.start for r in ranges], [len(r) for r in ranges], [r.step for r in ranges])


@rule("Gather", any_type=True)
def gather(g: Importer, c: Call) -> str:
    x, indices = c.inputs[0], g.array(c.inputs[1], "its index")
    axis = positive(c.attrs.get("axis", 0), len(g.shape(x)))
    taken = take(g, x, axis, indices.reshape(-1)[: LONGEST + 1].tolist())
    return g.reshape(taken, (*g.shape(x)[:axis], *indices.shape, *g.shape(x)[axis + 1 :]))


@rule("Pad", any_type=True)
def pad(g: Importer, c: Call) -> str:
    x, mode, rank = c.inputs[0], c.attrs.get("mode", "constant"), len(g.shape(c.inputs[0]))
    pads = listed(g, c, "pads", 1) or []
    axes = [positive(a, rank) for a in listed(g, c, "axes", 3) or range(len(pads) // 2)]
    before, after = [0] * rank, [0] * rank
    for axis, first, last in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        before[axis], after[axis] = first, last
    if mode != "constant":
        for axis in axes:
            if max(before[axis], after[axis]) > g.shape(x)[axis] * PIECES:
                raise refuse(f"it pads by more than {PIECES} times the axis")
            picks = np.pad(np.arange(g.shape(x)[axis]), (before[axis], after[axis]), mode=mode)
            x = take(g, x, axis, picks.tolist())
        return x
    value = g.array(c.inputs[2], "its value") if c.input(2) else np.float32(c.attrs.get("value", 0.0))
    kept = [n + min(p, 0) + min(q, 0) for n, p, q in zip(g.shape(x), before, after, strict=True)]
    x = cut(g, x, [max(-p, 0) for p in before], kept, [1] * rank)
    before, after = [max(p, 0) for p in before], [max(p, 0) for p in after]
    if not any(before + after):
        return x
    fill = float(np.asarray(value).reshape(()))
    return g.emit("pad", x, before=tuple(before), after=tuple(after), value=fill)


@rule("Expand", any_type=True)
def expand(g: Importer, c: Call) -> str:
    wanted = g.ints(c.inputs[1], "shape")
    return broadcast(g, c.inputs[0], np.broadcast_shapes(g.shape(c.inputs[0]), tuple(wanted)))


@rule("Tile", any_type=True)
def tile(g: Importer, c: Call) -> str:
    """Every axis gets one before it to repeat along."""
    x, repeats, old = c.inputs[0], g.ints(c.inputs[1], "repeats"), g.shape(c.inputs[0])
    pairs = list(zip(repeats, old, strict=True))
    apart = g.reshape(x, [n for _, size in pairs for n in (1, size)])
    return g.reshape(broadcast(g, apart, tuple(n for p in pairs for n in p)), [r * n for r, n in pairs])


@rule("DepthToSpace", "SpaceToDepth", any_type=True)
def blocks(g: Importer, c: Call) -> str:
    """Channels to squares of pixels and back: an axis is split, moved and joined."""
    x, size = c.inputs[0], int(c.attrs["blocksize"])
    n, ch, h, w = g.shape(x)
    depth_first = c.attrs.get("mode", "DCR") == "DCR"
    if c.op == "SpaceToDepth":
        apart = g.reshape(x, (n, ch, h // size, size, w // size, size))
        turned = g.transpose(apart, (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4))
        return g.reshape(turned, (n, ch * size * size, h // size, w // size))
    deep = ch // (size * size)
    if depth_first:
        turned = g.transpose(g.reshape(x, (n, size, size, deep, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        turned = g.transpose(g.reshape(x, (n, deep, size, size, h, w)), (0, 1, 4, 2, 5, 3))
    return g.reshape(turned, (n, deep, h * size, w * size))
