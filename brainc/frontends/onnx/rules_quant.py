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
from brainc.frontends.moves import refuse
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.reader import element_type
from brainc.frontends.onnx.rules import Call, Known, rule, rule_of_any, rule_of_constants
from brainc.ir import Quant

# The real twin of a quantised op: which operands are activations or weights (each with its scale and zero
# point; none: any number, from 2 on), which is the bias (0: none), and where the scale of the result is.
TWINS: dict[str, tuple[tuple[int, ...], int, int]] = {
    "Conv": ((0, 3), 8, 6),
    "MatMul": ((0, 3), 0, 6),
    "Gemm": ((0, 3), 6, 7),
    "Concat": ((), 0, 0),
    **dict.fromkeys(("Add", "Mul"), ((0, 3), 0, 6)),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax"), ((0,), 0, 3)),
}


def quant_of(g: Importer, names: Sequence[str], axis: int | None = None) -> Quant:
    """The quantisation that a scale and a zero point (may be left out) say; one number: per tensor."""
    scale, zero = (*names, "")[:2]
    scales = g.array(scale, "its scale").astype(np.float64).reshape(-1)
    zeros = g.array(zero, "its zero point").reshape(-1) if zero else np.zeros(1, np.int32)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError("a scale is not positive")
    if scales.size > 1 and axis is None:
        raise refuse("its activation has a scale for every channel", "quantise activations per tensor")
    wide = np.broadcast_to(zeros, scales.shape)
    return Quant(tuple(map(float, scales)), tuple(map(int, wide)), axis if scales.size > 1 else None)


def blocks_of(g: Importer, names: Sequence[str], axis: int, block: int) -> Quant:
    """The quantisation of a constant (x, scale, zero point) whose every `block` numbers along `axis` have a scale."""
    shape = g.shape(names[0])
    quant = Quant((), (), axis, max(block, 1))
    if block < 1 or g.shape(names[1]) != quant.grid(shape):
        raise ValueError(f"scales {list(g.shape(names[1]))} for blocks of {block} along axis {axis} of {list(shape)}")
    said = quant_of(g, names[1:], axis)
    return replace(quant, scale=said.scale, zero=said.zero)


def four_bits(g: Importer, x: str, quant: Quant, hint: str) -> str:
    """A constant of 4 bits: around zero if its numbers can be; the reals that it stands for where they cannot."""
    array = g.known[x].array
    moved = array.astype(np.int32) - quant.along(quant.zero, array.shape, np.int32)
    if moved.min(initial=0) < -8 or moved.max(initial=0) > 7:
        return g.constant(Known(array, quant).real(), hint)
    return g.constant(moved.astype(np.int8), hint, replace(quant, zero=(0,) * len(quant.zero)), four=True)


def real(g: Importer, names: Sequence[str], axis: int | None = None, hint: str = "") -> str:
    """What integers (x, scale, zero point) stand for: a node, or a constant with a quantisation."""
    x = names[0]
    if x not in g.known:
        quant = quant_of(g, names[1:])
        return g.emit("from_int", x, scale=quant.scale[0], zero=quant.zero[0])
    quant = quant_of(g, names[1:], axis if g.shape(x) else None)
    if quant.axis is not None and g.shape(x)[quant.axis] != len(quant.scale):
        raise refuse("its scales are for blocks", "quantise per tensor or per channel")
    if g.known[x].four:
        return four_bits(g, x, quant, hint or x)
    return g.constant(g.known[x].array, hint or x, quant)


def integer(g: Importer, names: Sequence[str], dtype: np.dtype[Any] | None = None) -> str:
    """Reals to integers (x, scale, zero point) of the zero point's type (uint8 without one)."""
    x, _, zero = (*names, "")[:3]
    quant = quant_of(g, names[1:])
    ours = of_numpy(dtype or (g.dtype(zero) if zero else np.dtype(np.uint8)))
    if ours is None or not ours.is_integer or ours.bits > 16:
        raise refuse("its integers are not of 8 or 16 bits", "quantise to int8 or uint8")
    if x in g.known:
        raise refuse("its operand is constant", "fold constants before export")
    return g.emit("to_int", x, scale=quant.scale[0], zero=quant.zero[0], dtype=ours.name)


@rule_of_constants("DequantizeLinear", "com.microsoft.DequantizeLinear")
def dequantize(g: Importer, c: Call) -> str:
    x, scale = c.inputs[:2]
    rank = len(g.shape(x))
    axis = range(rank)[c.attrs.get("axis", 1)] if g.shape(scale) and rank > 1 else 0
    if x in g.known and g.known[x].four and c.attrs.get("block_size", 0):
        return four_bits(g, x, blocks_of(g, c.inputs, axis, int(c.attrs["block_size"])), c.outputs[0])
    return real(g, c.inputs, axis, hint=c.outputs[0])


@rule("QuantizeLinear", "com.microsoft.QuantizeLinear")
def quantize(g: Importer, c: Call) -> str:
    wanted = c.attrs.get("output_dtype", 0)
    return integer(g, c.inputs, element_type(wanted) if wanted else None)


@rule_of_any("QLinearConv", "QLinearMatMul", "com.microsoft.QGemm")
@rule_of_any(*(f"com.microsoft.QLinear{op}" for op in TWINS))
def qlinear(g: Importer, c: Call) -> str:
    """Real operands, the twin, integers again."""
    op, attributes = c.op.removeprefix("QLinear").removeprefix("Q"), {"opset": 13, **c.attrs}
    firsts, bias, y = TWINS[op]
    firsts = firsts or tuple(range(2, len(c.inputs), 3))
    rank = len(g.shape(c.inputs[firsts[-1]]))
    axis = {"Conv": 0, "MatMul": rank - 1, "Gemm": 0 if c.attrs.get("transB") else 1}.get(op)
    parts = [real(g, c.inputs[i : i + 3], axis if i == 3 else None) for i in firsts]
    if op == "Gemm":
        attributes["beta"] = attributes.get("alpha", 1.0)
    if bias and c.input(bias):
        parts.append(_bias(g, c.inputs[bias], c.inputs[1], parts[1]))
    last = attributes.pop("channels_last", 0)
    if last:
        parts[0] = g.transpose(parts[0], [0, rank - 1, *range(1, rank - 1)])
    result = g.run(op, *parts, **attributes)
    result = g.transpose(result, [0, *range(2, rank), 1]) if last else result
    return integer(g, (result, *c.inputs[y : y + 2])) if c.input(y) else result


def _bias(g: Importer, bias: str, x_scale: str, w: str) -> str:
    """An int32 bias: its scale is that of x times that of w."""
    quant = g.known[w].quant
    assert quant is not None
    scales = tuple(s * float(g.array(x_scale, "its scale").reshape(())) for s in quant.scale)
    axis = None if quant.axis is None else 0
    return g.constant(g.known[bias].array, bias, Quant(scales, (0,) * len(scales), axis))
