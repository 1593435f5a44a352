"""Rules for sums, products, means, extremes and softmax, int8.

Factors are worked out as TFLite Micro does when it prepares a node, in double precision.
"""

from __future__ import annotations

from math import prod

import numpy as np

from brainc import ops
from brainc.frontends.moves import broadcast, refuse
from brainc.frontends.tflite import tables
from brainc.frontends.tflite.importer import Importer
from brainc.frontends.tflite.rules import Call, rule, scale_zero
from brainc.frontends.tflite.rules_layers import RANGES, fused, narrowed, result, window
from brainc.frontends.tflite.rules_tables import table
from brainc.ir import Attr
from brainc.numerics import tflite_multiplier

LEFT = {"INT8": 20, "INT16": 15}  # bits that operands of a sum are shifted by
TERMS = 4095  # of a softmax whose sum fits its 12 integer bits
LONGEST = 2**13  # cells of a resized axis


def pair(g: Importer, c: Call, op: str, given: dict[str, Attr]) -> str:
    """An op of two operands; the smaller one is repeated, as the second, and one with a number a function of it.

    `given` has the operands' own attributes under names that end in a and b, if the op lets them change places.
    """
    (a, b), shape = c.inputs, np.broadcast_shapes(*map(g.shape, c.inputs))
    if "za" in given and g.shape(a) != shape and (g.shape(b) == shape or b not in g.known):
        a, b = b, a
        swapped = {"za": "zb", "ma": "mb", "sa": "sb"}
        swapped |= {new: old for old, new in swapped.items()}
        given = {swapped.get(key, key): value for key, value in given.items()}
    a = broadcast(g, a, shape)
    if b in g.known and g.known[b].array.size == 1 and a not in g.known and c.ins[0].type == "INT8":
        number = g.known[b].array.reshape(1)
        (answers,) = ops.get(op).run([tables.X.astype(np.int8), number], given)
        return table(g, c, answers, a)
    tail = g.shape(b)
    while len(tail) > 1 and tail[0] == 1:
        tail = tail[1:]
    last = len(tail) <= len(shape) and shape[len(shape) - len(tail) :] == tail
    b = g.reshape(b, tail or (1,)) if last or not tail else broadcast(g, b, shape)
    return g.emit(op, a, b, **given)


@rule("ADD", "SUB", of="INT8")
@rule("ADD", "SUB", of="INT16")
def addition(g: Importer, c: Call) -> str:
    """Both operands on twice the larger scale; SUB subtracts."""
    (sa, za), (sb, zb), (sy, _) = (scale_zero(t) for t in (*c.ins, c.outs[0]))
    left, twice = LEFT[c.ins[0].type], 2 * max(sa, sb)
    (ma, sha), (mb, shb) = (tflite_multiplier(s / twice) for s in (sa, sb))
    mult, shift = tflite_multiplier(twice / ((1 << left) * sy))
    each: dict[str, Attr] = {"za": za, "ma": ma, "sa": sha, "zb": zb, "mb": -mb if c.op == "SUB" else mb, "sb": shb}
    return pair(g, c, "qadd", {**each, "left": left, "mult": mult, "shift": shift, **result(c), "round": "tflite"})


@rule("SQUARED_DIFFERENCE", of="INT8")
def squared_difference(g: Importer, c: Call) -> str:
    (sa, za), (sb, zb), (sy, zy) = (scale_zero(t) for t in (*c.ins, c.outs[0]))
    twice, left = 2 * max(sa, sb), 7  # more bits, and the square would not fit
    (ma, sha), (mb, shb) = (tflite_multiplier(s / twice) for s in (sa, sb))
    mult, shift = tflite_multiplier(twice * twice / ((1 << 2 * left) * sy))
    each: dict[str, Attr] = {"za": za, "ma": ma, "sa": sha, "zb": zb, "mb": -mb, "sb": shb, "left": left}
    return pair(g, c, "qsqdiff", {**each, "zy": zy, "mult": mult, "shift": shift})


@rule("L2_NORMALIZATION", of="INT8")
def l2_norm(g: Importer, c: Call) -> str:
    shape = g.shape(c.inputs[0])
    if scale_zero(c.outs[0]) != (1 / 128, 0) or fused(c) != (-np.inf, np.inf) or shape[-1] > 1 << 15:
        raise refuse("its result is not in 128ths, or it has a fused activation")
    rows = g.reshape(c.inputs[0], (prod(shape[:-1]), shape[-1]))
    return g.emit("ql2norm", rows, zx=scale_zero(c.ins[0])[1])


@rule("MUL", of="INT8")
@rule("MUL", of="INT16")
def product(g: Importer, c: Call) -> str:
    (sa, za), (sb, zb), (sy, _) = (scale_zero(t) for t in (*c.ins, c.outs[0]))
    mult, shift = tflite_multiplier(sa * sb / sy)
    return pair(g, c, "qmul", {"za": za, "zb": zb, "mult": mult, "shift": shift, **result(c), "round": "tflite"})


@rule("PRELU", of="INT8")
def prelu(g: Importer, c: Call) -> str:
    (sx, zx), (sb, zb), (sy, zy) = (scale_zero(t) for t in (*c.ins, c.outs[0]))
    (mult, shift), (mult_neg, shift_neg) = tflite_multiplier(sx / sy), tflite_multiplier(sx * sb / sy)
    given: dict[str, Attr] = {"zx": zx, "zb": zb, "zy": zy, "mult": mult, "shift": shift}
    return pair(g, c, "qprelu", {**given, "mult_neg": mult_neg, "shift_neg": shift_neg})


@rule("MAXIMUM", "MINIMUM", of="INT8")
def larger(g: Importer, c: Call) -> str:
    """Numbers as they lie: a pooling window over both, or over their complements; a table for one number."""
    if len({t.quant for t in (*c.ins, c.outs[0])}) > 1:
        raise refuse("its operands have other scales than its result", "quantise them alike")
    shape, choose = np.broadcast_shapes(*map(g.shape, c.inputs)), np.maximum if c.op == "MAXIMUM" else np.minimum
    for x, other in (c.inputs, c.inputs[::-1]):
        if other in g.known and g.known[other].array.size == 1:
            return table(g, c, choose(tables.X, int(g.known[other].array.reshape(()))), broadcast(g, x, shape))
    parts = [g.reshape(broadcast(g, x, shape), (1, 1, 1, prod(shape))) for x in c.inputs]
    return highest(g, c, g.emit("concat", *parts, axis=1), 2, least=c.op == "MINIMUM")


def reducible(g: Importer, c: Call) -> str:
    """The first operand as [before, reduced, after], its axes (the second operand) brought together."""
    x, shape = c.inputs[0], g.shape(c.inputs[0])
    axes = {range(len(shape))[a] for a in g.ints(c.inputs[1], "its axes")}
    real = [a for a, n in enumerate(shape) if n > 1]
    inside = [a for a in real if a in axes]
    first, end = (real.index(inside[0]), real.index(inside[-1]) + 1) if inside else (0, 0)
    if end - first > len(inside):  # not side by side
        perm = (*(a for a in range(len(shape)) if a not in axes), *sorted(axes))
        x, real, first, end = g.emit("transpose", x, perm=perm), [*perm], len(shape) - len(axes), len(shape)
    return g.reshape(x, [prod(shape[a] for a in part) for part in (real[:first], real[first:end], real[end:])])


@rule("MEAN", "SUM", of="INT8")
@rule("MEAN", "SUM", of="INT16")
def mean(g: Importer, c: Call) -> str:
    """The number of terms goes into the multiplier, in integers."""
    x = reducible(g, c)
    (sx, zx), (sy, zy), terms = scale_zero(c.ins[0]), scale_zero(c.outs[0]), g.shape(x)[1]
    mult, shift = tflite_multiplier(sx / sy)
    if c.op == "MEAN":
        more = min(terms.bit_length() - 1, 32, 31 + (31 - shift))
        mult, shift = (mult << more) // terms, shift + more
    bounds = dict(zip(("lo", "hi"), RANGES[c.outs[0].type], strict=True))
    return g.emit("qmean", x, zx=zx, zy=zy, mult=mult, shift=shift, round="tflite", **bounds)


@rule("REDUCE_MAX", "REDUCE_MIN", of="INT8")
def extreme(g: Importer, c: Call) -> str:
    """A pooling window over all that is reduced; the smallest is the largest of the complements."""
    x = reducible(g, c)
    m, k, n = g.shape(x)
    x = g.reshape(x, (m, k, 1, n))
    return highest(g, c, x, k, least=c.op == "REDUCE_MIN")


def highest(g: Importer, c: Call, x: str, count: int, *, least: bool) -> str:
    """The largest (or least) of each column of `count` rows."""
    if not least:
        return g.emit("maxpool2d", x, kernel=(count, 1))
    return table(g, c, ~tables.X, g.emit("maxpool2d", table(g, c, ~tables.X, x), kernel=(count, 1)))


@rule("AVERAGE_POOL_2D", "MAX_POOL_2D", of="INT8")
@rule("AVERAGE_POOL_2D", "MAX_POOL_2D", of="INT16")
def pool(g: Importer, c: Call) -> str:
    kernel = (c.option("FilterHeight"), c.option("FilterWidth"))
    given, held = window(c, g.shape(c.inputs[0])[1:3], kernel), result(c)
    if c.op == "AVERAGE_POOL_2D":
        bounds = {key: held[key] for key in ("lo", "hi")}
        return g.emit("qavgpool2d", c.inputs[0], kernel=kernel, round="tflite", **given, **bounds)
    y = g.emit("maxpool2d", c.inputs[0], kernel=kernel, **given)
    if fused(c) != (-np.inf, np.inf) and c.ins[0].type == "INT16":
        raise refuse("it has a fused activation on INT16", "express it as an op of its own")
    return y if fused(c) == (-np.inf, np.inf) else table(g, c, np.clip(tables.X, held["lo"], held["hi"]), y)


@rule("RESIZE_BILINEAR", of="INT8")
def resize(g: Importer, c: Call) -> str:
    x, sizes = c.inputs[0], g.ints(c.inputs[1], "its sizes")
    if not 0 < min(sizes) <= max(sizes) <= LONGEST:
        raise refuse(f"it resizes to {sizes} cells")
    pairs = zip(g.shape(x)[1:3], sizes, strict=True)
    lists = (g.constant(np.array(neighbours(c, *pair), np.int32), f"{c.name}/cells") for pair in pairs)
    return g.emit("qresize2d", x, *lists)


def neighbours(c: Call, old: int, new: int) -> list[tuple[int, int, int]]:
    """For each cell of a resized axis the two that it lies between, and its place there in 1024ths."""
    corners, centres, found = c.option("AlignCorners", False), c.option("HalfPixelCenters", False), []
    step = (1024 * old + new // 2) // new
    if corners and new > 1:
        step = (1024 * (old - 1) + (new - 1) // 2) // (new - 1)
    for i in range(new):
        place = i * step + (step // 2 - 512 if centres else 0)
        first = min(max(place, 0) >> 10, old - 1)
        found.append((first, min(max(place + 1023, 0) >> 10, old - 1), place - 1024 * first))
    return found


@rule("SOFTMAX", of="INT8")
def softmax(g: Importer, c: Call) -> str:
    x, shape = c.inputs[0], g.shape(c.inputs[0])
    if shape[-1] > TERMS or scale_zero(c.outs[0]) != (1 / 256, -128):
        raise refuse(f"it has more than {TERMS} terms, or its result is not in 256ths from -128")
    answers = tables.exponentials(scale_zero(c.ins[0])[0], float(np.float32(c.option("Beta", 1.0))))
    name = g.constant(answers.astype(np.int32), f"{c.name}/table")
    rows = g.reshape(x, (prod(shape[:-1]), shape[-1]))
    return g.emit("qsoftmax", rows, name, round="tflite")


@rule("BATCH_MATMUL", of="INT8")
@rule("BATCH_MATMUL", of="INT16")
def matmul(g: Importer, c: Call) -> str:
    """Two activations, either of them transposed."""
    flips = (c.option("AdjX"), c.option("AdjY"))
    a, b = (swap_last(g, x) if flip else x for x, flip in zip(c.inputs, flips, strict=True))
    lead = np.broadcast_shapes(g.shape(a)[:-2], g.shape(b)[:-2])
    a, b = (broadcast(g, x, (*lead, *g.shape(x)[-2:])) for x in (a, b))
    a, b = (g.reshape(x, (prod(lead), *g.shape(x)[-2:])) for x in (a, b))
    (sa, za), (sb, zb), (sy, zy) = (scale_zero(t) for t in (*c.ins, c.outs[0]))
    mult, shift = tflite_multiplier(sa * sb / sy)
    given: dict[str, Attr] = {"za": za, "zb": zb, "zy": zy, "round": "tflite"}
    if c.ins[0].type == "INT16":
        (mult, shift), (least, most) = narrowed(mult, shift), RANGES["INT16"]
        given |= {"lo": least, "hi": most, "round": "once"}
    return g.emit("qmatmul", a, b, mult=mult, shift=shift, **given)


def swap_last(g: Importer, x: str) -> str:
    *lead, rows, columns = range(len(g.shape(x)))
    return g.emit("transpose", x, perm=(*lead, columns, rows))
