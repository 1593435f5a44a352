"""Rules for what slides over a picture or a sequence: convolutions, pools, resizing; and normalisation.

ONNX keeps channels first; brainc's ops want them last, so a transpose goes before and after (the canonical
passes settle them). A sequence [N,C,L] is a picture of one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from brainc.frontends.moves import refuse, take
from brainc.frontends.onnx.folding import fold
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.rules import Call, rule, rule_of_any
from brainc.frontends.onnx.rules_math import reduced
from brainc.frontends.reals import binary

LONGEST = 2**13  # cells of a resized axis


def rows(g: Importer, x: str) -> str:
    """[N,C,H,W] or [N,C,L] to [N,H,W,C]."""
    if len(g.shape(x)) == 3:
        n, c, length = g.shape(x)
        return g.reshape(g.transpose(x, (0, 2, 1)), (n, 1, length, c))
    if len(g.shape(x)) != 4:
        raise refuse(f"it works on {len(g.shape(x)) - 2} spatial axes; brainc knows 1 and 2")
    return g.transpose(x, (0, 2, 3, 1))


def channels_first(g: Importer, y: str, rank: int) -> str:
    """Back from [N,H,W,C]."""
    if rank == 4:
        return g.transpose(y, (0, 3, 1, 2))
    n, _, length, c = g.shape(y)
    return g.transpose(g.reshape(y, (n, length, c)), (0, 2, 1))


def window(g: Importer, c: Call, kernel: Sequence[int]) -> dict[str, Any]:
    """The geometry of a window over a picture (or sequence), always two-dimensional.

    `pads` are top, left, bottom, right; `extra` are the further cells below and to the right of ceil_mode.
    """
    axes, auto = len(kernel), c.attrs.get("auto_pad", "NOTSET")
    lead = [1] * (2 - axes)
    strides, dilations = ([*lead, *(c.attrs.get(k) or [1] * axes)] for k in ("strides", "dilations"))
    given = list((auto == "NOTSET" and c.attrs.get("pads")) or [0] * 2 * axes)
    before, after, extra = [0] * len(lead) + given[:axes], [0] * len(lead) + given[axes:], [0, 0]
    if min(*strides, *dilations, *kernel) < 1 or min(given) < 0:
        raise ValueError("sizes must be at least 1, pads at least 0")
    sizes = ([*lead, *numbers] for numbers in (g.shape(c.inputs[0])[2:], g.results(c)[0][2:], kernel))
    for i, (n, out, k, s, d) in enumerate(zip(*sizes, strides, dilations, strict=True)):
        total = (out - 1) * s + (k - 1) * d + 1 - n  # cells outside the picture that windows see
        if auto.startswith("SAME"):
            total = max(total, 0)
            before[i] = total // 2 if auto == "SAME_UPPER" else -(-total // 2)
            after[i] = total - before[i]
        extra[i] = max(total - before[i] - after[i], 0)
    kernel, pads = (*lead, *kernel), (*before, *after)
    geometry = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations, "extra": extra}
    return {key: tuple(map(int, numbers)) for key, numbers in geometry.items()}


@rule("Conv")
def conv(g: Importer, c: Call) -> str:
    x, w = c.inputs[:2]
    if w not in g.known or (c.input(2) and c.inputs[2] not in g.known):
        raise refuse("its weights depend on the input: they must be constant")
    x_rows, w_rows, group = rows(g, x), rows(g, w), int(c.attrs.get("group", 1))
    at = window(g, c, g.shape(w)[2:])
    del at["extra"], at["kernel"]
    if g.shape(w)[1] * group != g.shape(x)[1] or g.shape(w)[0] % group:
        raise ValueError(f"weights {list(g.shape(w))} for {g.shape(x)[1]} channels in {group} groups")
    y = g.emit("conv2d", x_rows, w_rows, c.input(2), **at, group=group)
    return channels_first(g, y, len(g.shape(x)))


@rule_of_any("GlobalMaxPool", "MaxPool")
@rule("AveragePool", "GlobalAveragePool")
def pool(g: Importer, c: Call) -> str:
    x, y = c.inputs[0], rows(g, c.inputs[0])
    at = window(g, c, c.attrs["kernel_shape"] if c.op.startswith(("A", "M")) else g.shape(x)[2:])
    (top, left, bottom, right), (down, aside) = at["pads"], at.pop("extra")
    if c.op == "AveragePool":
        at["count_pads"] = int(c.attrs.get("count_include_pad", 0))
    if at.get("count_pads") and (down or aside):  # the pads count, the extra cells of ceil_mode do not
        y = g.emit("pad", y, before=(0, top, left, 0), after=(0, bottom, right, 0))
        top = left = bottom = right = at["count_pads"] = 0
    at["pads"] = (top, left, bottom + down, right + aside)
    y = g.emit("maxpool2d" if "Max" in c.op else "avgpool2d", y, **at)
    return channels_first(g, y, len(g.shape(x)))


@rule("BatchNormalization")
def batch_normalization(g: Importer, c: Call) -> str:
    if c.attrs.get("training_mode", 0) or not c.attrs.get("spatial", 1):
        raise refuse("it is in training mode, or not spatial", "export the model for inference")
    x, each = c.inputs[0], (-1,) + (1,) * (len(g.shape(c.inputs[0])) - 2)
    scale, bias, mean, variance = (np.float64(g.array(n, "its statistics")) for n in c.inputs[1:5])
    factor = scale / np.sqrt(variance + c.attrs.get("epsilon", 1e-5))
    scaled = binary(g, "mul", x, g.constant(np.float32(factor).reshape(each), f"{c.name}/scale"))
    offset = np.float32(bias - mean * factor).reshape(each)
    return binary(g, "add", scaled, g.constant(offset, f"{c.name}/offset"))


@rule("InstanceNormalization", "LayerNormalization", "GroupNormalization")
def normalization(g: Importer, c: Call) -> str:
    """Rows of all that is normalised together are brought to mean 0 and variance 1, then scaled."""
    x, old = c.inputs[0], g.shape(c.inputs[0])
    each: tuple[int, ...] = (old[1],) + (1,) * (len(old) - 2)
    heads = old[0] * int(c.attrs.get("num_groups", old[1]))
    if c.op == "LayerNormalization":
        axis = c.attrs.get("axis", -1) % len(old)
        heads, each = math.prod(old[:axis]), old[axis:]
    flat = g.reshape(x, (heads, math.prod(old) // heads))
    centred = binary(g, "sub", flat, reduced(g, flat, "mean", [1], (heads, 1)))
    variance = reduced(g, binary(g, "mul", centred, centred), "mean", [1], (heads, 1))
    deviation = g.emit("unary", binary(g, "add", variance, c.attrs.get("epsilon", 1e-5)), fn="sqrt")
    y = g.reshape(binary(g, "div", centred, deviation), old)
    for op, name in zip(("mul", "add"), filter(None, c.inputs[1:]), strict=False):
        values = g.array(name, "its scale")
        if c.op == "GroupNormalization" and values.size != old[1]:  # opset 18: one a group
            values = values.repeat(old[1] // values.size)
        y = binary(g, op, y, g.constant(values.reshape(each) if values.size > 1 else values, name))
    return y


@rule_of_any("Resize", "Upsample")
def resize(g: Importer, c: Call) -> str:
    """Whole factors over a picture are `upsample2d`; else each axis is picked from, cell by cell."""
    x, old, rank = c.inputs[0], g.shape(c.inputs[0]), len(g.shape(c.inputs[0]))
    for key, only in (("mode", "nearest"), ("keep_aspect_ratio_policy", "stretch")):
        if (value := c.attrs.get(key, only)) != only:
            raise refuse(f"its {key} is {value}; brainc knows {only}")
    by_size, factors = len(c.inputs) > 3, [1] * rank
    numbers = c.attrs.get("scales") or g.array(c.inputs[-1], "its scales or sizes").reshape(-1).tolist()
    axes = [range(rank)[a] for a in c.attrs.get("axes") or range(rank)]
    picks = {a: _nearest(c, old[a], n, by_size=by_size) for a, n in zip(axes, numbers, strict=True)}
    for axis, pick in picks.items():
        factor = len(pick) // old[axis]
        factors[axis] = factor if pick == [i // max(factor, 1) for i in range(len(pick))] else 0
    if rank in (3, 4) and all(factors) and factors[:2] == [1, 1] and max(factors) > 1:
        y = g.emit("upsample2d", rows(g, x), factors=(1, *factors[2:])[-2:])
        return channels_first(g, y, rank)
    for axis, pick in picks.items():
        x = take(g, x, axis, pick)
    return x


def _nearest(c: Call, old: int, number: float, *, by_size: bool) -> list[int]:
    """For each cell of an axis resized to (or by) a number, the cell it comes from; ONNX works it out."""
    if (number if by_size else number * old) > LONGEST:
        raise refuse(f"it resizes {old} cells {'to' if by_size else 'by'} {number}")
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if c.op == "Resize" and c.opset >= 11:
        how = {key: c.attrs[key] for key in how if key in c.attrs}
    operands = {"x": np.arange(old, dtype=np.float32), "n": np.array([number], np.int64 if by_size else np.float32)}
    inputs = ["x", "", "", "n"] if by_size else ["x", "", "n"]
    node = onnx.helper.make_node("Resize", inputs, ["y"], mode="nearest", **how)
    return [int(i) for i in fold(node, operands, opset=19)["y"]]
