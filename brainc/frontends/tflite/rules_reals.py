"""Rules for real numbers: layers, sums, functions and pictures become the real ops that ONNX models become.

Weights that are int8 around zero keep their integers beside float32 activations (a dynamic-range model): what they
stand for is what is computed with; TFLite rounds such activations to int8 on the way.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, prod

import numpy as np

from brainc.dtypes import Array
from brainc.errors import ModelError
from brainc.frontends.moves import broadcast, refuse
from brainc.frontends.reals import binary, tanh_gelu
from brainc.frontends.tflite.importer import Importer
from brainc.frontends.tflite.reader import DAMAGED
from brainc.frontends.tflite.rules import Call, rule
from brainc.frontends.tflite.rules_layers import fused, upside_down, window
from brainc.frontends.tflite.rules_math import reducible, swap_last
from brainc.frontends.tflite.rules_moves import LONGEST
from brainc.ir import Attr, Quant

BINARY = {"ADD": "add", "SUB": "sub", "MUL": "mul", "DIV": "div", "MAXIMUM": "maximum", "MINIMUM": "minimum"}
UNARY = {
    **{name.upper(): name for name in ("abs", "ceil", "cos", "elu", "exp", "floor", "log", "neg", "round", "sign")},
    **{name.upper(): name for name in ("sin", "sqrt", "tanh", "hard_swish")},
    "LOGISTIC": "sigmoid",
}
BOUNDS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
REDUCE = {"MEAN": "mean", "SUM": "sum", "REDUCE_MAX": "max", "REDUCE_MIN": "min", "REDUCE_PROD": "prod"}


def held(g: Importer, y: str, lo: float, hi: float) -> str:
    """y between two bounds, of which either may be none."""
    given = {name: end for name, end in (("lo", lo), ("hi", hi)) if isfinite(end)}
    return g.emit("clamp", y, **given) if given else y


def real(array: Array, quant: Quant | None) -> Array:
    """What the integers of a constant stand for, float32."""
    if quant is None:
        return np.asarray(array, np.float32)
    scale, zero = (quant.along(part, array.shape, np.float64) for part in (quant.scale, quant.zero))
    return np.asarray((array.astype(np.float64) - zero) * scale, np.float32)


def weights(g: Importer, c: Call, axis: int) -> tuple[Array, Quant | None]:
    """The second operand, whose output channels are an axis: int8 with what it means, else float32."""
    array, quant = g.array(c.inputs[1], "its weights"), c.ins[1].quant
    if array.dtype.kind == "f":
        return real(array, None), None
    if quant is None:
        raise ModelError(f"tensor {c.ins[1].name!r} has integers, but no scale", fix=DAMAGED)
    steady = array.dtype == np.int8 and quant.axis in (None, axis) and not any(quant.zero)
    return (array, quant) if steady and c.inputs[0] not in g.known else (real(array, quant), None)


def layer(g: Importer, c: Call, op: str, x: str, w: Array, quant: Quant | None, axis: int, **given: Attr) -> str:
    """A layer with its bias and its fused activation; `axis` of the weights are the output channels."""
    quant = replace(quant, axis=axis) if quant and quant.axis is not None else quant
    w_name = g.constant(np.ascontiguousarray(w), f"{c.name}/w", quant)
    bias = c.input(2) and g.constant(real(g.array(c.inputs[2], "its bias"), c.ins[2].quant), f"{c.name}/b")
    return held(g, g.emit(op, x, w_name, bias, **given), *fused(c))


@rule("CONV_2D", of="FLOAT32")
def conv(g: Importer, c: Call) -> str:
    (w, quant), x = weights(g, c, 0), g.shape(c.inputs[0])
    filters, *kernel, depth = w.shape
    if x[3] % depth or filters % (x[3] // depth):
        raise ValueError(f"weights {list(w.shape)} for {x[3]} channels")
    return layer(g, c, "conv2d", c.inputs[0], w, quant, 0, group=x[3] // depth, **window(c, x[1:3], kernel))


@rule("DEPTHWISE_CONV_2D", of="FLOAT32")
def depthwise(g: Importer, c: Call) -> str:
    """Each channel by itself; with several filters a channel it is a convolution in as many groups."""
    (w, quant), x = weights(g, c, 3), g.shape(c.inputs[0])
    _, *kernel, filters = w.shape
    if filters % x[3]:
        raise ValueError(f"{filters} filters for {x[3]} channels")
    given = window(c, x[1:3], kernel)
    if filters == x[3]:
        return layer(g, c, "dwconv2d", c.inputs[0], w[0], quant, 2, **given)
    return layer(g, c, "conv2d", c.inputs[0], w.transpose(3, 1, 2, 0), quant, 0, group=x[3], **given)


@rule("FULLY_CONNECTED", of="FLOAT32")
def dense(g: Importer, c: Call) -> str:
    """Every axis but the last is a row."""
    if c.option("WeightsFormat"):
        raise refuse("its weights are shuffled", "convert the model without weight shuffling")
    w, quant = weights(g, c, 0)
    rows = g.reshape(c.inputs[0], (prod(g.shape(c.inputs[0])) // w.shape[1], w.shape[1]))
    return layer(g, c, "dense", rows, w, quant, 0)


@rule("TRANSPOSE_CONV of", of="FLOAT32")
def transpose_conv(g: Importer, c: Call) -> str:
    w, quant = weights(g, c, 0)
    x, pads = upside_down(g, c, w.shape[1:3], 0.0)
    return layer(g, c, "conv2d", x, w[:, ::-1, ::-1], quant, 0, pads=pads)


@rule("BATCH_MATMUL", of="FLOAT32")
def matmul(g: Importer, c: Call) -> str:
    """Two operands, either of them transposed; a quantised constant stands for its reals."""
    ends = [
        g.constant(real(g.known[x].array, t.quant), x) if x in g.known else x
        for x, t in zip(c.inputs, c.ins, strict=True)
    ]
    flips = (c.option("AdjX"), c.option("AdjY"))
    a, b = (swap_last(g, x) if flip else x for x, flip in zip(ends, flips, strict=True))
    lead = np.broadcast_shapes(g.shape(a)[:-2], g.shape(b)[:-2])
    a, b = (broadcast(g, x, (*lead, *g.shape(x)[-2:])) for x in (a, b))
    return g.emit("matmul", *(g.reshape(x, (prod(lead), *g.shape(x)[-2:])) for x in (a, b)))


@rule(*BINARY, of="FLOAT32")
def arithmetic(g: Importer, c: Call) -> str:
    y = binary(g, BINARY[c.op], *c.inputs)
    return y if c.op.endswith("IMUM") else held(g, y, *fused(c))


@rule("ADD_N", of="FLOAT32")
def sum_of_all(g: Importer, c: Call) -> str:
    total = c.inputs[0]
    for x in c.inputs[1:]:
        total = binary(g, "add", total, x)
    return total


@rule("SQUARED_DIFFERENCE", "SQUARE", "POW", of="FLOAT32")
def powers(g: Importer, c: Call) -> str:
    """Squares and roots are not left to `powf`."""
    if c.op != "POW":
        x = binary(g, "sub", *c.inputs) if len(c.inputs) > 1 else c.inputs[0]
        return binary(g, "mul", x, x)
    x, exponent = c.inputs
    number = g.known[exponent].array if exponent in g.known else np.zeros(0)
    if number.size == 1 and float(number.reshape(())) in (2.0, 0.5):
        return binary(g, "mul", x, x) if float(number.reshape(())) == 2.0 else g.emit("unary", x, fn="sqrt")
    return binary(g, "power", x, exponent)


@rule(*UNARY, of="FLOAT32")
def unary(g: Importer, c: Call) -> str:
    return g.emit("unary", c.inputs[0], fn=UNARY[c.op], alpha=1.0)


@rule("RSQRT", of="FLOAT32")
def inverse_root(g: Importer, c: Call) -> str:
    return g.emit("unary", g.emit("unary", c.inputs[0], fn="sqrt"), fn="reciprocal")


@rule("GELU", of="FLOAT32")
def gelu(g: Importer, c: Call) -> str:
    return tanh_gelu(g, c.inputs[0]) if c.option("Approximate") else g.emit("unary", c.inputs[0], fn="gelu")


@rule(*BOUNDS, of="FLOAT32")
def bounded(g: Importer, c: Call) -> str:
    return held(g, c.inputs[0], *BOUNDS[c.op])


@rule("LEAKY_RELU", "PRELU", of="FLOAT32")
def sloped(g: Importer, c: Call) -> str:
    """Slopes side by side with the numbers, or one for all."""
    x, slope = c.inputs[0], c.input(1)
    if c.op == "LEAKY_RELU":
        return g.emit("unary", x, fn="leaky_relu", alpha=float(c.option("Alpha", 0.0)))
    if slope in g.known and prod(g.shape(slope)) == 1:
        return g.emit("unary", x, fn="leaky_relu", alpha=float(g.known[slope].array.reshape(())))
    return binary(g, "prelu", x, slope)


@rule(*REDUCE, of="FLOAT32")
def reduction(g: Importer, c: Call) -> str:
    return g.emit("reduce", reducible(g, c), fn=REDUCE[c.op])


@rule("L2_NORMALIZATION", of="FLOAT32")
def unit_length(g: Importer, c: Call) -> str:
    """Every vector along the last axis over its length, which is held above 1e-6."""
    x, shape = c.inputs[0], g.shape(c.inputs[0])
    rows = g.reshape(x, (prod(shape[:-1]), shape[-1], 1))
    length = held(g, g.reshape(g.emit("reduce", rows, fn="l2"), (*shape[:-1], 1)), 1e-6, np.inf)
    return held(g, binary(g, "div", x, length), *fused(c))


@rule("SOFTMAX", "LOG_SOFTMAX", of="FLOAT32")
def softmax(g: Importer, c: Call) -> str:
    """Along the last axis. The logarithm is x - max - log(sum of exp(x - max)): that of softmax would underflow."""
    shape, beta = g.shape(c.inputs[0]), float(c.option("Beta", 1.0)) if c.op == "SOFTMAX" else 1.0
    m, n = prod(shape[:-1]), shape[-1]
    x = g.reshape(c.inputs[0] if beta == 1.0 else binary(g, "mul", c.inputs[0], beta), (m, n))
    if c.op == "SOFTMAX":
        return g.emit("softmax", x)

    def over_rows(y: str, fn: str) -> str:
        return g.reshape(g.emit("reduce", g.reshape(y, (m, n, 1)), fn=fn), (m, 1))

    low = binary(g, "sub", x, over_rows(x, "max"))
    total = over_rows(g.emit("unary", low, fn="exp"), "sum")
    return binary(g, "sub", low, g.emit("unary", total, fn="log"))


@rule("AVERAGE_POOL_2D", "MAX_POOL_2D", of="FLOAT32")
def pool(g: Importer, c: Call) -> str:
    kernel = (c.option("FilterHeight"), c.option("FilterWidth"))
    op = "avgpool2d" if c.op.startswith("A") else "maxpool2d"
    y = g.emit(op, c.inputs[0], kernel=kernel, **window(c, g.shape(c.inputs[0])[1:3], kernel))
    return held(g, y, *fused(c))


@rule("RESIZE_BILINEAR", of="FLOAT32")
def resize(g: Importer, c: Call) -> str:
    size = tuple(g.ints(c.inputs[1], "its sizes"))
    if not all(0 < n <= LONGEST for n in size):
        raise refuse(f"it resizes to {list(size)}")
    how = {"corners": int(c.option("AlignCorners", False)), "centres": int(c.option("HalfPixelCenters", False))}
    return g.emit("bilinear2d", c.inputs[0], size=size, **how)


@rule("DEQUANTIZE", of="FLOAT16")
def widened(g: Importer, c: Call) -> str:
    """Half floats are for storing weights."""
    return g.constant(g.array(c.inputs[0], "its half floats").astype(np.float32), c.name)
