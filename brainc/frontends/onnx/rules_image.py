"""Rules for what slides over a picture or a sequence: convolutions, pools, resizing; and normalisation.

ONNX keeps channels first; brainc's ops want them last, so a transpose goes before and after (the canonical
passes settle them). A sequence [N,C,L] is a picture of one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainc.dtypes import Array
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.rules import Call, refuse, rule
from brainc.frontends.onnx.rules_math import binary
from brainc.frontends.onnx.rules_shape import LONGEST, take

Pair = tuple[int, int]


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


@dataclass(frozen=True, slots=True)
class Window:
    """A window's geometry, always two-dimensional; pads: top, left, bottom, right; `extra`: of ceil_mode."""

    kernel: Pair
    strides: Pair
    pads: tuple[int, int, int, int]
    dilations: Pair
    extra: Pair

    def with_extra(self) -> tuple[int, int, int, int]:
        t, l, b, r = self.pads  # noqa: E741
        return t, l, b + self.extra[0], r + self.extra[1]


def window(c: Call, kernel: tuple[int, ...], spatial: tuple[int, ...]) -> Window:
    """The geometry of a node over a picture (or sequence) of size `spatial`."""
    axes = len(spatial)
    if len(kernel) != axes:
        raise ValueError(f"kernel {list(kernel)} over {axes} axes")
    strides, dilations = (list(c.attrs.get(k) or [1] * axes) for k in ("strides", "dilations"))
    pads = list(c.attrs.get("pads") or [0] * 2 * axes)
    if min(*strides, *dilations, *kernel) < 1 or min(pads) < 0:
        raise ValueError("sizes must be at least 1, pads at least 0")
    auto, extra = c.attrs.get("auto_pad", "NOTSET"), [0] * axes
    for i, (n, k, s, d) in enumerate(zip(spatial, kernel, strides, dilations, strict=True)):
        reach = (k - 1) * d + 1
        if auto.startswith("SAME"):
            total = max((-(-n // s) - 1) * s + reach - n, 0)
            pads[i] = total // 2 if auto == "SAME_UPPER" else -(-total // 2)
            pads[axes + i] = total - pads[i]
        elif auto == "VALID":
            pads[i] = pads[axes + i] = 0
        padded = n + pads[i] + pads[axes + i]
        if c.attrs.get("ceil_mode", 0):
            count = -(-(padded - reach) // s) + 1
            count -= (count - 1) * s >= n + pads[i]  # a window that starts behind the picture does not count
            extra[i] = max((count - 1) * s + reach - padded, 0)
    if axes == 1:
        kernel, strides, dilations = (1, *kernel), [1, *strides], [1, *dilations]
        pads, extra = [0, pads[0], 0, pads[1]], [0, *extra]
    top, left, bottom, right = pads
    return Window(_pair(kernel), _pair(strides), (top, left, bottom, right), _pair(dilations), _pair(extra))


def _pair(numbers: Sequence[int]) -> Pair:
    high, wide = numbers
    return int(high), int(wide)


@rule("Conv")
def conv(g: Importer, c: Call) -> str:
    x, w = c.inputs[:2]
    if not g.is_known(w) or (c.input(2) and not g.is_known(c.inputs[2])):
        raise refuse("its weights depend on the input: they must be constant")
    if len(g.shape(w)) != len(g.shape(x)):
        raise ValueError(f"weights {list(g.shape(w))} over {list(g.shape(x))}")
    x_rows = rows(g, x)
    at = window(c, g.shape(w)[2:], g.shape(x)[2:])
    group = int(c.attrs.get("group", 1))
    if g.shape(w)[1] * group != g.shape(x)[1] or g.shape(w)[0] % group:
        raise ValueError(f"weights {list(g.shape(w))} for {g.shape(x)[1]} channels in {group} groups")
    y = g.emit(
        "conv2d", x_rows, rows(g, w), c.input(2),
        strides=at.strides, pads=at.pads, dilations=at.dilations, group=group,
    )  # fmt: skip
    return channels_first(g, y, len(g.shape(x)))


@rule("MaxPool", any_type=True)
def max_pool(g: Importer, c: Call) -> str:
    x, x_rows = c.inputs[0], rows(g, c.inputs[0])
    at = window(c, tuple(c.attrs["kernel_shape"]), g.shape(x)[2:])
    y = g.emit(
        "maxpool2d", x_rows,
        kernel=at.kernel, strides=at.strides, pads=at.with_extra(), dilations=at.dilations,
    )  # fmt: skip
    return channels_first(g, y, len(g.shape(x)))


@rule("AveragePool")
def average_pool(g: Importer, c: Call) -> str:
    x, x_rows = c.inputs[0], rows(g, c.inputs[0])
    at = window(c, tuple(c.attrs["kernel_shape"]), g.shape(x)[2:])
    pads, count = at.with_extra(), int(c.attrs.get("count_include_pad", 0))
    if count and any(at.extra):  # the pads count, the extra cells of ceil_mode do not
        t, l, b, r = at.pads  # noqa: E741
        x_rows = g.emit("pad", x_rows, before=(0, t, l, 0), after=(0, b, r, 0))
        pads, count = (0, 0, *at.extra), 0
    y = g.emit(
        "avgpool2d", x_rows,
        kernel=at.kernel, strides=at.strides, pads=pads, dilations=at.dilations, count_pads=count,
    )  # fmt: skip
    return channels_first(g, y, len(g.shape(x)))


@rule("GlobalAveragePool", "GlobalMaxPool")
def global_pool(g: Importer, c: Call) -> str:
    x = rows(g, c.inputs[0])
    op = "avgpool2d" if c.op == "GlobalAveragePool" else "maxpool2d"
    return channels_first(g, g.emit(op, x, kernel=g.shape(x)[1:3]), len(g.shape(c.inputs[0])))


@rule("BatchNormalization")
def batch_normalization(g: Importer, c: Call) -> str:
    if c.attrs.get("training_mode", 0) or not c.attrs.get("spatial", 1):
        raise refuse("it is in training mode, or not spatial", "export the model for inference")
    x = c.inputs[0]
    scale, bias, mean, variance = (np.float64(g.array(n, "its statistics")) for n in c.inputs[1:5])
    factor = scale / np.sqrt(variance + c.attrs.get("epsilon", 1e-5))
    each = (-1,) + (1,) * (len(g.shape(x)) - 2)
    offset = np.float32(bias - mean * factor).reshape(each)
    scaled = binary(g, "mul", x, g.constant(np.float32(factor).reshape(each), f"{c.name}/scale"))
    return binary(g, "add", scaled, g.constant(offset, f"{c.name}/offset"))


def normalised(g: Importer, x: str, epsilon: float) -> str:
    """Rows of x [M,N] brought to mean 0 and variance 1."""
    m, n = g.shape(x)

    def mean(of: str) -> str:
        return g.emit("reduce", g.reshape(of, (m, n, 1)), fn="mean")

    centred = binary(g, "sub", x, mean(x), commutative=False)
    variance = binary(g, "add", mean(binary(g, "mul", centred, centred)), g.constant(np.float32(epsilon)))
    return binary(g, "div", centred, g.emit("unary", variance, fn="sqrt"), commutative=False)


@rule("InstanceNormalization", "LayerNormalization", "GroupNormalization")
def normalization(g: Importer, c: Call) -> str:
    x, old = c.inputs[0], g.shape(c.inputs[0])
    each: tuple[int, ...] = (old[1],) + (1,) * (len(old) - 2)
    heads = old[0] * (int(c.attrs["num_groups"]) if c.op == "GroupNormalization" else old[1])
    if c.op == "LayerNormalization":
        axis = c.attrs.get("axis", -1) % len(old)
        heads, each = math.prod(old[:axis]), old[axis:]
    flat = normalised(g, g.reshape(x, (heads, math.prod(old) // heads)), c.attrs.get("epsilon", 1e-5))
    y = g.reshape(flat, old)
    for op, name in zip(("mul", "add"), filter(None, c.inputs[1:]), strict=False):
        values = g.array(name, "its scale")
        if c.op == "GroupNormalization" and values.size != old[1]:  # opset 18: one a group
            values = values.repeat(old[1] // values.size)
        y = binary(g, op, y, g.constant(values.reshape(each) if values.size > 1 else values, name))
    return y


@rule("Resize", "Upsample", any_type=True)
def resize(g: Importer, c: Call) -> str:
    x, old, rank = c.inputs[0], g.shape(c.inputs[0]), len(g.shape(c.inputs[0]))
    if (mode := c.attrs.get("mode", "nearest")) != "nearest":
        raise refuse(f"its mode is {mode}; brainc knows nearest")
    if c.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise refuse("it keeps the aspect ratio", "give all sizes")
    axes = list(c.attrs.get("axes") or range(rank))
    scales, new = [1.0] * rank, list(old)
    given = c.inputs[3 if c.op == "Resize" and len(c.inputs) > 3 else min(len(c.inputs), 3) - 1]
    numbers = c.attrs["scales"] if "scales" in c.attrs else g.array(given, "its scales or sizes").reshape(-1)
    for axis, number in zip(axes, numbers, strict=True):
        by_size = len(c.inputs) > 3
        new[axis] = int(number) if by_size else math.floor(old[axis] * float(number))
        scales[axis] = int(number) / old[axis] if by_size else float(number)
    if max(new) > LONGEST:
        raise refuse(f"it resizes to {new}")
    picks = [_nearest(c, n, m, s) for n, m, s in zip(old, new, scales, strict=True)]
    factors = [m // n if np.array_equal(p, np.arange(m) // max(m // n, 1)) else 0
               for n, m, p in zip(old, new, picks, strict=True)]  # fmt: skip
    if rank in (3, 4) and all(factors) and factors[:2] == [1, 1] and any(f > 1 for f in factors):
        last: Pair = (factors[2], factors[3]) if rank == 4 else (1, factors[2])
        return channels_first(g, g.emit("upsample2d", rows(g, x), factors=last), rank)
    if rank == 4 and all(factors) and factors[0] == factors[3] == 1 and any(f > 1 for f in factors):
        return g.emit("upsample2d", x, factors=(factors[1], factors[2]))
    for axis, pick in enumerate(picks):
        x = take(g, x, axis, pick.tolist())
    return x


def _nearest(c: Call, old: int, new: int, scale: float) -> Array:
    """For each cell of a resized axis, the cell it comes from."""
    legacy = c.op == "Upsample" or c.opset < 11
    how = "asymmetric" if legacy else c.attrs.get("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if legacy else c.attrs.get("nearest_mode", "round_prefer_floor")
    i: Array = np.arange(new)
    place: Array
    if how == "asymmetric":
        place = i / scale
    elif how == "align_corners":
        place = i * ((old - 1) / max(new - 1, 1))
    elif how in ("half_pixel", "pytorch_half_pixel"):
        place = (i + 0.5) / scale - 0.5 if how == "half_pixel" or new > 1 else i * 0.0
    else:
        raise refuse(f"its coordinates are {how}")
    if rounding.startswith("round"):
        place = np.ceil(place - 0.5) if rounding == "round_prefer_floor" else np.floor(place + 0.5)
    return np.clip(np.ceil(place) if rounding == "ceil" else np.floor(place), 0, old - 1).astype(np.int64)
