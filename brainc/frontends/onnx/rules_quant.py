"""Rules for quantised networks.

QuantizeLinear and DequantizeLinear become `to_int` and `from_int` (a constant gets its quantisation as part
of its type); the QLinear* ops become the real op between the two. The canonical passes make integers of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from brainc.dtypes import of_numpy
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.reader import element_type
from brainc.frontends.onnx.rules import Call, all_rules, refuse, rule
from brainc.frontends.onnx.rules_shape import positive
from brainc.ir import Quant

QDQ = ("QuantizeLinear", "DequantizeLinear")


def quant_of(g: Importer, scale: str, zero: str, axis: int | None = None) -> Quant:
    """The quantisation that a scale and a zero point (may be left out) say; one number: per tensor."""
    scales = g.array(scale, "its scale").astype(np.float64).reshape(-1)
    zeros = g.array(zero, "its zero point").reshape(-1) if zero else np.zeros(1, np.int32)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError("a scale is not positive")
    if scales.size > 1 and axis is None:
        raise refuse("its activation has a scale for every channel", "quantise activations per tensor")
    wide = np.broadcast_to(zeros, scales.shape)
    kept = axis if scales.size > 1 else None
    return Quant(tuple(map(float, scales)), tuple(map(int, wide)), kept)


def _three(names: Sequence[str]) -> tuple[str, str, str]:
    x, scale, zero = (*names, "")[:3]
    return x, scale, zero


def real(g: Importer, names: Sequence[str], axis: int | None = None) -> str:
    """What integers (x, scale, zero point) stand for: a node, or a constant with a quantisation."""
    x, scale, zero = _three(names)
    if g.is_known(x):
        quant = quant_of(g, scale, zero, axis if len(g.shape(x)) else None)
        if quant.axis is not None and g.shape(x)[quant.axis] != len(quant.scale):
            raise refuse("its scales are for blocks", "quantise per tensor or per channel")
        return g.constant(g.known[x].array, g.call.outputs[0] if g.call and g.call.op in QDQ else x, quant)
    quant = quant_of(g, scale, zero)
    return g.emit("from_int", x, scale=quant.scale[0], zero=quant.zero[0])


def integer(g: Importer, names: Sequence[str], dtype: np.dtype[Any] | None = None) -> str:
    """Reals to integers (x, scale, zero point) of the zero point's type (uint8 without one)."""
    x, scale, zero = _three(names)
    quant = quant_of(g, scale, zero)
    ours = of_numpy(dtype or (g.dtype(zero) if zero else np.dtype(np.uint8)))
    if ours is None or not ours.is_integer or ours.bits > 16:
        raise refuse("its integers are not of 8 or 16 bits", "quantise to int8 or uint8")
    if g.is_known(x):
        raise refuse("its operand is constant", "fold constants before export")
    return g.emit("to_int", x, scale=quant.scale[0], zero=quant.zero[0], dtype=ours.name)


@rule("DequantizeLinear", "com.microsoft.DequantizeLinear", any_type=True, constants=True)
def dequantize(g: Importer, c: Call) -> str:
    x, scale = c.inputs[:2]
    rank = len(g.shape(x))
    axis = positive(c.attrs.get("axis", 1), rank) if len(g.shape(scale)) and rank > 1 else 0
    return real(g, c.inputs, axis)


@rule("QuantizeLinear", "com.microsoft.QuantizeLinear")
def quantize(g: Importer, c: Call) -> str:
    wanted = c.attrs.get("output_dtype", 0)
    dtype = element_type(wanted) if wanted else None
    return integer(g, c.inputs, dtype)


@rule("QLinearConv", any_type=True, constants=True)
def qlinear_conv(g: Importer, c: Call) -> str:
    x, w = real(g, c.inputs[:3]), real(g, c.inputs[3:6], axis=0)
    bias = (_bias(g, c.inputs[8], x_scale=c.inputs[1], w=w),) if c.input(8) else ()
    return integer(g, (g.run("Conv", x, w, *bias, **c.attrs), *c.inputs[6:8]))


def _bias(g: Importer, bias: str, x_scale: str, w: str) -> str:
    """An int32 bias: its scale is that of x times that of w."""
    quant = g.known[w].quant
    assert quant is not None
    scales = tuple(s * float(g.array(x_scale, "its scale").reshape(())) for s in quant.scale)
    axis = 0 if quant.axis is not None else None
    return g.constant(g.known[bias].array, bias, Quant(scales, (0,) * len(scales), axis))


@rule("QLinearMatMul", any_type=True)
def qlinear_matmul(g: Importer, c: Call) -> str:
    a, b = real(g, c.inputs[:3]), real(g, c.inputs[3:6], axis=len(g.shape(c.inputs[3])) - 1)
    return integer(g, (g.run("MatMul", a, b), *c.inputs[6:8]))


@rule("com.microsoft.QGemm", any_type=True)
def qgemm(g: Importer, c: Call) -> str:
    a, b = real(g, c.inputs[:3]), real(g, c.inputs[3:6], axis=0 if c.attrs.get("transB") else 1)
    bias = (_bias(g, c.inputs[6], x_scale=c.inputs[1], w=b),) if c.input(6) else ()
    alpha = float(c.attrs.get("alpha", 1.0))
    y = g.run("Gemm", a, b, *bias, **{k: v for k, v in c.attrs.items() if k != "beta"}, beta=alpha)
    return integer(g, (y, *c.inputs[7:9])) if c.input(7) else y


@rule("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul", any_type=True)
def qlinear_binary(g: Importer, c: Call) -> str:
    a, b = real(g, c.inputs[:3]), real(g, c.inputs[3:6])
    return integer(g, (g.run(c.op.removeprefix("QLinear"), a, b), *c.inputs[6:8]))


ONE = ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")


@rule(*(f"com.microsoft.QLinear{name}" for name in ONE), any_type=True)
def qlinear_unary(g: Importer, c: Call) -> str:
    """One operand: x, its scale and zero point, those of the result."""
    x, op = real(g, c.inputs[:3]), c.op.removeprefix("QLinear")
    rank, last = len(g.shape(x)), bool(c.attrs.get("channels_last", 0))
    if last:
        x = g.transpose(x, [0, rank - 1, *range(1, rank - 1)])
    attributes = {k: v for k, v in c.attrs.items() if k not in ("channels_last", "opset")}
    assert g.call is not None
    call = replace(g.call, op=op, inputs=(x,), attrs=attributes, opset=int(c.attrs.get("opset", 13)))
    y = all_rules()[op].apply(g, call)
    assert isinstance(y, str)
    y = g.transpose(y, [0, *range(2, rank), 1]) if last else y
    return integer(g, (y, *c.inputs[3:5]))


@rule("com.microsoft.QLinearConcat", any_type=True)
def qlinear_concat(g: Importer, c: Call) -> str:
    parts = [real(g, c.inputs[i : i + 3]) for i in range(2, len(c.inputs), 3)]
    return integer(g, (g.run("Concat", *parts, **c.attrs), *c.inputs[:2]))
