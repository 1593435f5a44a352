"""Rules for functions of one int8 variable: each is a table of its 256 answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brainc.dtypes import Array
from brainc.frontends.moves import refuse
from brainc.frontends.tflite import tables
from brainc.frontends.tflite.importer import Importer
from brainc.frontends.tflite.rules import Call, Result, all_rules, rule, scale_zero
from brainc.numerics import clamp, inverse_root, scaled_twice, tflite_multiplier


def table(g: Importer, c: Call, answers: Array, x: str = "") -> str:
    """answers[x + 128], of the first operand or of `x`."""
    name = g.constant(answers.astype(np.int8), f"{c.name}/table")
    return g.emit("qlut", x or c.inputs[0], name)


def ratio(c: Call) -> float:
    """Scale of the operand over that of the result."""
    return scale_zero(c.ins[0])[0] / scale_zero(c.outs[0])[0]


@rule("LOGISTIC", of="INT8")
def logistic(g: Importer, c: Call) -> str:
    if scale_zero(c.outs[0])[1] != -128:
        raise refuse("its result does not begin at -128")
    return table(g, c, tables.logistic(*scale_zero(c.ins[0])))


@rule("TANH", of="INT8")
def tanh(g: Importer, c: Call) -> str:
    return table(g, c, tables.tanh(*scale_zero(c.ins[0])))


@rule("HARD_SWISH", of="INT8")
def hard_swish(g: Importer, c: Call) -> str:
    return table(g, c, tables.hard_swish(scale_zero(c.ins[0]), scale_zero(c.outs[0])))


@rule("RELU", of="INT8")
def relu(g: Importer, c: Call) -> str:
    zero, y = scale_zero(c.ins[0])[1], scale_zero(c.outs[0])[1]
    return table(g, c, clamp(tables.scaled(tables.X - zero, ratio(c), y), max(y, -128), 127))


@rule("RELU6", of="INT8")
def relu6(g: Importer, c: Call) -> str:
    """Held between the operand's own 0 and 6: no scale changes."""
    scale, zero = scale_zero(c.ins[0])
    six = zero + np.floor(np.float32(6) / np.float32(scale) + np.float32(0.5))
    return table(g, c, clamp(tables.X, zero, int(min(six, 127))))


@rule("LEAKY_RELU", of="INT8")
def leaky_relu(g: Importer, c: Call) -> str:
    (sx, zx), (sy, zy), alpha = scale_zero(c.ins[0]), scale_zero(c.outs[0]), float(c.option("Alpha", 0.0))
    v, slope = tables.X - zx, sx * alpha / sy
    below = np.sign(slope) * scaled_twice(v, *tflite_multiplier(abs(slope)))
    above = scaled_twice(v, *tflite_multiplier(ratio(c)))
    return table(g, c, clamp(np.where(v >= 0, above, below) + zy, -128, 127))


@rule("ABS", of="INT8")
def absolute(g: Importer, c: Call) -> str:
    v = np.abs(tables.X - scale_zero(c.ins[0])[1])
    return table(g, c, tables.scaled(v, ratio(c), scale_zero(c.outs[0])[1]))


@rule("RSQRT", of="INT8")
def inverse_square_root(g: Importer, c: Call) -> str:
    """Of nothing (and less) the largest there is."""
    (sx, zx), (sy, zy) = scale_zero(c.ins[0]), scale_zero(c.outs[0])
    v, extra = tables.X - zx, 20  # bits that keep the root a whole number
    mult, shift = inverse_root(np.maximum(v, 1))
    outer, outer_shift = tflite_multiplier(1 / float(np.sqrt(np.float32(sx)) * np.float32(sy)))
    roots = scaled_twice(scaled_twice(np.ones_like(v), mult, shift - extra), outer, outer_shift + extra)
    return table(g, c, np.where(v > 0, clamp(roots + zy, -128, 127), 127))


@rule("ELU", of="INT8")
def elu(g: Importer, c: Call) -> str:
    return real_table(g, c, lambda v: np.where(v < 0, np.exp(v) - np.float32(1), v))


def real_table(g: Importer, c: Call, function: Callable[[Array], Array]) -> str:
    """A function of float32, rounded half away from zero."""
    (sx, zx), (sy, zy) = scale_zero(c.ins[0]), scale_zero(c.outs[0])
    reals = function(np.float32(sx) * (tables.X - zx).astype(np.float32)) * (np.float32(1) / np.float32(sy))
    return table(g, c, clamp(np.copysign(np.floor(np.abs(reals) + 0.5), reals) + zy, -128, 127))


@rule("QUANTIZE", of="INT8")
@rule("QUANTIZE", of="UINT8")
def requantize(g: Importer, c: Call) -> Result:
    """Between int8 and uint8 the top bit flips, which moves the zero point by 128; the rest is a table."""
    x, ((sx, zx), (sy, zy)) = c.inputs[0], (scale_zero(t) for t in (c.ins[0], c.outs[0]))
    types = (c.ins[0].type, c.outs[0].type)
    if types == ("INT8", "INT16"):
        return all_rules()["QUANTIZE", "INT16"](g, c)
    if not {*types} <= {"INT8", "UINT8"}:
        raise refuse(f"it makes {types[1]} of {types[0]}")
    zx, zy = (zero - 128 * (type_ == "UINT8") for zero, type_ in zip((zx, zy), types, strict=True))
    if types[0] == "UINT8":
        x = g.emit("qshift8", x)
    answers = tables.scaled(tables.X - zx, sx / sy, zy)
    if not np.array_equal(answers, tables.X):
        x = table(g, c, answers, x)
    return g.emit("qshift8", x) if types[1] == "UINT8" else x


@rule("QUANTIZE", of="FLOAT32")
def quantize(g: Importer, c: Call) -> str:
    scale, zero = scale_zero(c.outs[0])
    dtype = c.outs[0].type.replace("UINT", "u").replace("INT", "i")
    if dtype not in ("i8", "u8", "i16"):
        raise refuse(f"it makes {c.outs[0].type}")
    return g.emit("to_int", c.inputs[0], scale=scale, zero=zero, dtype=dtype, round="tflite")


@rule("DEQUANTIZE", of="INT8")
@rule("DEQUANTIZE", of="UINT8")
@rule("DEQUANTIZE", of="INT16")
def dequantize(g: Importer, c: Call) -> str:
    scale, zero = scale_zero(c.ins[0])
    return g.emit("from_int", c.inputs[0], scale=scale, zero=zero)
