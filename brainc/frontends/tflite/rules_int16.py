"""Rules for functions of int16: curves that are straight between the knots of a table.

Layers and sums of int16 share their rules with int8. The tables are worked out in single precision, as TFLite Micro
does when it prepares a node.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2, prod

import numpy as np

from brainc.dtypes import Array
from brainc.frontends.moves import refuse
from brainc.frontends.tflite.importer import Importer
from brainc.frontends.tflite.rules import Call, rule, scale_zero
from brainc.ir import Attr
from brainc.numerics import tflite_multiplier
from brainc.ops.qsigmoid import knots_of_sigmoid

LONGEST = 65535  # terms of a softmax whose sum fits 31 bits


@rule("LOGISTIC", "TANH", of="INT16")
def sigmoid(g: Importer, c: Call) -> str:
    """Steps of the operand become steps of 1/(3 * 2^12), by a multiplier of 15 bits that is cut off.

    A power of two (nearly) is one exactly.
    """
    tanh, (scale, zero), (out, out_zero) = c.op == "TANH", scale_zero(c.ins[0]), scale_zero(c.outs[0])
    if zero or out_zero or power_of_two(out) != -15:
        raise refuse("its zero points are not 0, or its result has not steps of 1/32768")
    steps, shift, power = scale * 4096 * 3, 0, power_of_two(scale)
    if power is not None and power + 12 in ((0, 1) if tanh else (0,)):
        steps = 3.0 * 2 ** (power + 12)
    else:
        while steps <= 32767 / 2 and shift <= 30:
            steps, shift = steps * 2, shift + 1
    if steps >= 32768:
        raise refuse("its operand has too wide a scale", "quantise it to -8..8, or a little more")
    knots = g.constant(knots_of_sigmoid(), f"{c.name}/knots")
    return g.emit("qsigmoid", c.inputs[0], knots, mult=int(steps), shift=shift, tanh=int(tanh))


def power_of_two(scale: float) -> int | None:
    """The exponent of a scale that is one but for a thousandth."""
    exact = log2(scale)
    return round(exact) if abs(exact - round(exact)) < 1e-3 else None


@rule("LEAKY_RELU", of="INT16")
def leaky_relu(g: Importer, c: Call) -> str:
    """Two factors, the second with a sign, which is that of a slope of 1."""
    (sx, zx), (sy, zy), alpha = scale_zero(c.ins[0]), scale_zero(c.outs[0]), float(c.option("Alpha", 0.0))
    steep = sx * alpha / sy
    slope = g.constant(np.array([-1 if steep < 0 else 1], np.int16), f"{c.name}/slope")
    (mult, shift), (mult_neg, shift_neg) = tflite_multiplier(sx / sy), tflite_multiplier(abs(steep))
    given: dict[str, Attr] = {"zx": zx, "zb": 0, "zy": zy, "mult": mult, "shift": shift}
    return g.emit("qprelu", c.inputs[0], slope, **given, mult_neg=mult_neg, shift_neg=shift_neg)


@rule("QUANTIZE", of="INT16")
def requantize(g: Importer, c: Call) -> str:
    """To another scale, of int8 or int16; the rule for int8 comes here too for int16."""
    dtype = {"INT8": "i8", "INT16": "i16"}.get(c.outs[0].type)
    if dtype is None:
        raise refuse(f"it makes {c.outs[0].type} of {c.ins[0].type}")
    (sx, zx), (sy, zy) = scale_zero(c.ins[0]), scale_zero(c.outs[0])
    mult, shift = tflite_multiplier(sx / sy)
    return g.emit("qrescale", c.inputs[0], zx=zx, mult=mult, shift=shift, zy=zy, dtype=dtype)


@rule("SOFTMAX", of="INT16")
def softmax(g: Importer, c: Call) -> str:
    """Along the last axis."""
    (scale, zero), y, shape = scale_zero(c.ins[0]), scale_zero(c.outs[0]), g.shape(c.inputs[0])
    if zero or y[1] or abs(y[0] * 32768 - 1) > 0.001 or c.outs[0].type != "INT16" or shape[-1] > LONGEST:
        raise refuse(f"its zero points are not 0, its steps not 1/32768, or its rows longer than {LONGEST}")
    mult, shift = tflite_multiplier(scale * float(np.float32(c.option("Beta", 1.0))) / (10 / 65535))
    knots, inverses = curve(10, 32767, np.exp), curve(1, -32768, lambda v: np.float32(1) / (np.float32(1) + v))
    names = [g.constant(knots, f"{c.name}/knots"), g.constant(inverses, f"{c.name}/inverses")]
    x = g.reshape(c.inputs[0], (prod(shape[:-1]), shape[-1]))
    return g.emit("qsoftmax16", x, *names, mult=mult, shift=shift)


def curve(width: int, zero: int, function: Callable[[Array], Array]) -> Array:
    """The 513 knots of a function over a range of that width, which `zero` of int16 is the zero of; 15 fractional bits.

    Each is moved by half of what the line to the next is off in the middle. Source: LUTPopulate of TFLite's common.h.
    """
    each, fine = np.float32(width) / np.float32(65535), np.float32(2) / np.float32(65535)
    lo, hi = each * np.float32(-32768 - zero), each * np.float32(32767 - zero)
    step, unit = (hi - lo) / np.float32(512), np.float32(65536) / (fine * np.float32(32767) - fine * np.float32(-32768))
    at = lo + np.arange(513, dtype=np.float32) * step
    values, middle = function(at) * unit, function(at[:-1] + step / np.float32(2)) * unit
    straight = away((values[1:] + away(values[:-1])) / np.float32(2))
    knots = away(values[:-1]) - away((straight - away(middle)) / np.float32(2))
    last = away(function(np.array([hi])) * unit)
    return np.asarray(np.clip(np.append(knots, last), -32768, 32767)).astype(np.int16)


def away(v: Array) -> Array:
    """The nearest whole numbers, half away from zero."""
    return np.asarray(np.copysign(np.floor(np.abs(v) + np.float32(0.5)), v))
