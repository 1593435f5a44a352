"""Rules for layers with weights: convolutions and fully connected ones, int8 or int16 by int8.

The scales become multipliers as TFLite Micro works them out when it prepares a node, in double precision; the zero
point of the input goes into the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import tflite

from brainc.dtypes import Array
from brainc.errors import ModelError
from brainc.frontends.moves import cut, refuse
from brainc.frontends.tflite.importer import Importer
from brainc.frontends.tflite.reader import DAMAGED, Tensor
from brainc.frontends.tflite.rules import Call, Result, all_rules, rule, scale_zero
from brainc.ir import Attr
from brainc.numerics import tflite_multiplier

SAME, VALID = 0, 1
RANGES = {"INT8": (-128, 127), "INT16": (-32768, 32767)}
ACTIVATIONS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}  # the schema's numbers


def fused(c: Call) -> tuple[float, float]:
    """What a node's fused activation holds its result between."""
    number = c.option("FusedActivationFunction")
    if number not in ACTIVATIONS:
        raise refuse(f"its fused activation is number {number}", "convert the model with RELU, RELU6 or RELU_N1_TO_1")
    return ACTIVATIONS[number]


def result(c: Call) -> dict[str, Attr]:
    """Zero point and bounds of an integer result, its fused activation among them."""
    (scale, zero), (least, most) = scale_zero(c.outs[0]), RANGES[c.outs[0].type]
    lo, hi = (round_away(np.float32(real) / np.float32(scale)) + zero for real in fused(c))
    return {"zy": zero, "lo": int(max(lo, least)), "hi": int(min(hi, most))}


def round_away(v: np.float32) -> float:
    """The nearest whole number, half away from zero."""
    return float(np.copysign(np.floor(np.abs(np.float64(v)) + 0.5), v))


def window(c: Call, size: Sequence[int], kernel: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """How a window moves over a picture of `size`: strides, dilations, and pads as SAME or VALID asks."""
    strides = (c.option("StrideH", 1), c.option("StrideW", 1))
    dilations = (1, 1)
    if hasattr(c.options, "DilationHFactor"):
        dilations = (c.option("DilationHFactor"), c.option("DilationWFactor"))
    if min(*strides, *dilations, *kernel) < 1:
        raise ValueError("strides, dilations and sizes are at least 1")
    before, after = [0, 0], [0, 0]
    if c.option("Padding") == SAME:
        for i, (n, k, s, d) in enumerate(zip(size, kernel, strides, dilations, strict=True)):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            before[i], after[i] = total // 2, total - total // 2
    return {"strides": strides, "pads": (*before, *after), "dilations": dilations}


def weights_of(g: Importer, c: Call) -> Array:
    weights = g.array(c.inputs[1], "its weights")
    if weights.dtype != np.int8 or (c.ins[1].quant and any(c.ins[1].quant.zero)):
        raise refuse(f"its weights are {c.ins[1].type}, or have a zero point", "quantise weights to int8, symmetric")
    return weights


def layer(g: Importer, c: Call, op: str, x: str, weights: Array, axis: int, factors: Array, **given: Attr) -> str:
    """An exact layer; `axis` of the weights are the output channels, `factors` a channel's scale (one for all: [1])."""
    zx, others = scale_zero(c.ins[0])[1], tuple(i for i in range(weights.ndim) if i != axis)
    channels = weights.shape[axis]
    bias = g.array(c.input(2), "its bias").astype(np.int64) if c.input(2) else np.zeros(channels, np.int64)
    bias = bias.reshape(channels) - zx * weights.sum(axis=others, dtype=np.int64)
    if np.abs(bias).max(initial=0) > np.iinfo(np.int32).max:
        raise refuse("its bias does not fit into 32 bits", "quantise the layer with larger scales")
    unique = factors[:1] if np.all(factors == factors[0]) else factors
    pairs, round_ = [tflite_multiplier(float(f)) for f in unique], "tflite"
    if sums_are_wide(c):
        pairs, round_ = [narrowed(*pair) for pair in pairs], "once"
    mult, shift = np.array([m for m, _ in pairs], np.int32), np.array([s for _, s in pairs], np.int8)
    made = {"w": np.ascontiguousarray(weights), "b": bias.astype(np.int32), "mult": mult, "shift": shift}
    constants = (g.constant(array, f"{c.name}/{key}") for key, array in made.items())
    return g.emit(op, x, *constants, round=round_, **result(c), **given)


def sums_are_wide(c: Call) -> bool:
    """Whether TFLite adds up in 64 bits: int16 by int8, unless the bias is (or would be) int32."""
    kind = c.options.QuantizedBiasType() if hasattr(c.options, "QuantizedBiasType") else 0
    narrow = c.ins[2].type == "INT32" if c.input(2) else kind == tflite.TensorType.INT32
    return c.ins[0].type == "INT16" and not narrow


def narrowed(mult: int, shift: int) -> tuple[int, int]:
    """A multiplier of 15 bits, as TFLite takes it to sums of 64: rounded half up."""
    if shift < 24:
        raise refuse("its scales make its results more than 128 times as large", "quantise the layer with other scales")
    return min((mult + (1 << 15)) >> 16, 0x7FFF), shift - 16


def per_channel(x: Tensor, w: Tensor, y: Tensor, channels: int) -> Array:
    """Scale of x times that of w over that of y, for every channel."""
    if w.quant is None or len(w.quant.scale) not in (1, channels):
        raise ModelError(f"tensor {w.name!r} has not a scale for each of {channels} channels", fix=DAMAGED)
    return scale_zero(x)[0] * np.array(w.quant.scale * (channels // len(w.quant.scale))) / scale_zero(y)[0]


@rule("CONV_2D", of="INT8")
@rule("CONV_2D", of="INT16")
def conv(g: Importer, c: Call) -> str:
    weights, x = weights_of(g, c), g.shape(c.inputs[0])
    filters, *kernel, depth = weights.shape
    if x[3] % depth or filters % (x[3] // depth):
        raise ValueError(f"weights {list(weights.shape)} for {x[3]} channels")
    given = window(c, x[1:3], kernel)
    factors = per_channel(c.ins[0], c.ins[1], c.outs[0], filters)
    zx = scale_zero(c.ins[0])[1]
    return layer(g, c, "qconv2d", c.inputs[0], weights, 0, factors, zx=zx, group=x[3] // depth, **given)


@rule("DEPTHWISE_CONV_2D", of="INT8")
@rule("DEPTHWISE_CONV_2D", of="INT16")
def depthwise(g: Importer, c: Call) -> str:
    """Each channel by itself; with several filters a channel, or on int16, it is a convolution in as many groups."""
    weights, x = weights_of(g, c)[0], g.shape(c.inputs[0])
    *kernel, filters = weights.shape
    if filters % x[3]:
        raise ValueError(f"{filters} filters for {x[3]} channels")
    given: dict[str, Attr] = {"zx": scale_zero(c.ins[0])[1], **window(c, x[1:3], kernel)}
    factors = per_channel(c.ins[0], c.ins[1], c.outs[0], filters)
    if filters == x[3] and c.ins[0].type == "INT8":
        return layer(g, c, "qdwconv2d", c.inputs[0], weights, 2, factors, **given)
    grouped = weights.transpose(2, 0, 1)[..., None]
    return layer(g, c, "qconv2d", c.inputs[0], grouped, 0, factors, group=x[3], **given)


@rule("TRANSPOSE_CONV")
def transpose_conv(g: Importer, c: Call) -> Result:
    """A convolution over the picture with zeros between its pixels; the filters lie upside down."""
    call = replace(c, inputs=(c.inputs[2], c.inputs[1], c.input(3)), ins=(c.ins[2], c.ins[1], *c.ins[3:]))
    size = replace(c.outs[0], shape=tuple(g.ints(c.inputs[0], "its size")))
    call, rules = replace(call, outs=(size,)), all_rules()
    if ("TRANSPOSE_CONV of", c.ins[2].type) not in rules:
        raise refuse(f"it works on {c.ins[2].type}; brainc knows it for INT8, INT16 and FLOAT32")
    return rules["TRANSPOSE_CONV of", c.ins[2].type](g, call)


@rule("TRANSPOSE_CONV of", of="INT8")
@rule("TRANSPOSE_CONV of", of="INT16")
def transpose_conv_integers(g: Importer, c: Call) -> str:
    weights, zx = weights_of(g, c), scale_zero(c.ins[0])[1]
    x, pads = upside_down(g, c, weights.shape[1:3], float(zx))
    factors = per_channel(c.ins[0], c.ins[1], c.outs[0], len(weights))
    return layer(g, c, "qconv2d", x, weights[:, ::-1, ::-1], 0, factors, zx=zx, pads=pads)


def upside_down(g: Importer, c: Call, kernel: Sequence[int], value: float) -> tuple[str, tuple[int, ...]]:
    """The picture of a transposed convolution, spread out, and its borders, for a plain one."""
    size = c.outs[0].shape[1:3]
    at, strides = window(c, size, kernel), (c.option("StrideH", 1), c.option("StrideW", 1))
    x, pads = spread(g, c.inputs[0], strides, value), [0, 0, 0, 0]
    for i, (n, k) in enumerate(zip(size, kernel, strict=True)):
        pads[i] = k - 1 - at["pads"][i]
        pads[i + 2] = n + k - 1 - g.shape(x)[i + 1] - pads[i]
        if pads[i + 2] < 0:  # pixels that reach no result
            x, pads[i + 2] = cut(g, x, {i + 1: range(g.shape(x)[i + 1] + pads[i + 2])}), 0
    return x, tuple(pads)


def spread(g: Importer, x: str, strides: tuple[int, int], value: float) -> str:
    """The pixels of x `strides` apart, with cells of `value` between them."""
    (b, h, w, c), (down, aside) = g.shape(x), strides
    if strides == (1, 1):
        return x
    after = (0, 0, down - 1, 0, aside - 1, 0)
    apart = g.emit("pad", g.reshape(x, (b, h, 1, w, 1, c)), before=(0,) * 6, after=after, value=value)
    wide = g.reshape(apart, (b, h * down, w * aside, c))
    return cut(g, wide, {1: range((h - 1) * down + 1), 2: range((w - 1) * aside + 1)})


@rule("FULLY_CONNECTED", of="INT8")
@rule("FULLY_CONNECTED", of="INT16")
def dense(g: Importer, c: Call) -> str:
    """Every axis but the last is a row."""
    weights = weights_of(g, c)
    if c.option("WeightsFormat"):
        raise refuse("its weights are shuffled", "convert the model without weight shuffling")
    units, depth = weights.shape
    factors = per_channel(c.ins[0], c.ins[1], c.outs[0], units)
    rows = g.reshape(c.inputs[0], (prod(g.shape(c.inputs[0])) // depth, depth))
    return layer(g, c, "qdense", rows, weights, 0, factors)
