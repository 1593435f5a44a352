"""Rules for arithmetic element by element: two operands, or one function of one variable.

The importer finds these by their names; brainc's binary and unary ops leave.
"""

from __future__ import annotations

import math
from functools import partial, reduce

import numpy as np
import onnx

from brainc.dtypes import of_numpy
from brainc.frontends.onnx.importer import Importer
from brainc.frontends.onnx.reader import element_type
from brainc.frontends.onnx.rules import Call, refuse, rule

# ONNX name to (brainc's op, is it commutative)
BINARY = {
    "Add": ("add", True),
    "Div": ("div", False),
    "Mul": ("mul", True),
    "Pow": ("power", False),
    "Sub": ("sub", False),
}
VARIADIC = {"Max": "maximum", "Mean": "add", "Min": "minimum", "Sum": "add"}
# ONNX name to its brainc function and the attributes (name, default) that are its alpha and beta
UNARY: dict[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "Elu": ("elu", (("alpha", 1.0),)),
    "HardSigmoid": ("hard_sigmoid", (("alpha", 0.2), ("beta", 0.5))),
    "HardSwish": ("hard_swish", ()),
    "LeakyRelu": ("leaky_relu", (("alpha", 0.01),)),
    "Selu": ("selu", (("alpha", 1.6732632423543772), ("gamma", 1.0507009873554805))),
}
PLAIN = "Abs Ceil Cos Erf Exp Floor Log Neg Reciprocal Round Sigmoid Sign Sin Softplus Softsign Sqrt Tanh"
UNARY.update({name: (name.lower(), ()) for name in PLAIN.split()})
WIDER = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)


def broadcast(g: Importer, x: str, shape: tuple[int, ...]) -> str:
    """x repeated up to `shape`."""
    aligned = g.reshape(x, (1,) * (len(shape) - len(g.shape(x))) + g.shape(x))
    return aligned if g.shape(aligned) == shape else g.emit("expand", aligned, shape=shape)


def binary(g: Importer, op: str, a: str, b: str, *, commutative: bool = True) -> str:
    """a op b; the first operand is made the one of full shape, the second loses leading ones."""
    shape = np.broadcast_shapes(g.shape(a), g.shape(b))
    if commutative and (g.is_known(a) or (g.shape(a) != shape and not g.is_known(b))):
        a, b = b, a
    elif g.is_known(a) and op == "sub":
        a, b, op = g.emit("unary", b, fn="neg"), a, "add"
    elif g.is_known(a) and op == "div":
        a, b, op = g.emit("unary", b, fn="reciprocal"), a, "mul"
    a = broadcast(g, a, shape)
    while g.shape(b)[:1] == (1,) and g.shape(b) != shape:
        b = g.reshape(b, g.shape(b)[1:])
    return g.emit(op, a, b)


@rule("Add", "Div", "Mul", "Sub")
def arithmetic(g: Importer, c: Call) -> str:
    op, commutative = BINARY[c.op]
    return binary(g, op, c.inputs[0], c.inputs[1], commutative=commutative)


@rule("Pow")
def power(g: Importer, c: Call) -> str:
    """Squares and roots are not left to `powf`."""
    x, exponent = c.inputs
    if g.is_known(exponent):
        values = np.float32(g.array(exponent, "exponent"))
        if values.ndim <= len(g.shape(x)) and np.all(values == 2.0) and values.size == 1:
            return binary(g, "mul", x, x)
        if values.ndim <= len(g.shape(x)) and np.all(values == 0.5) and values.size == 1:
            return g.emit("unary", x, fn="sqrt")
        exponent = g.constant(values, exponent)
    return binary(g, "power", x, exponent, commutative=False)


@rule("Max", "Mean", "Min", "Sum")
def variadic(g: Importer, c: Call) -> str:
    total = reduce(partial(binary, g, VARIADIC[c.op]), c.inputs)
    if c.op != "Mean":
        return total
    return binary(g, "mul", total, g.constant(np.float32(1 / len(c.inputs)), "count"))


@rule(*UNARY)
def unary(g: Importer, c: Call) -> str:
    fn, parameters = UNARY[c.op]
    values = [float(c.attrs.get(name, default)) for name, default in parameters]
    return g.emit("unary", c.inputs[0], fn=fn, **dict(zip(("alpha", "beta"), values, strict=False)))


@rule("Gelu", "com.microsoft.Gelu", "com.microsoft.FastGelu")
def gelu(g: Importer, c: Call) -> str:
    x = c.inputs[0]
    if c.op == "Gelu" and c.attrs.get("approximate", "none") == "none":
        return g.emit("unary", x, fn="gelu")
    if c.input(1):
        x = binary(g, "add", x, c.inputs[1])
    cube = binary(g, "mul", binary(g, "mul", x, x), x)
    inner = binary(g, "add", x, binary(g, "mul", cube, g.constant(np.float32(0.044715))))
    curve = g.emit(
        "unary", binary(g, "mul", inner, g.constant(np.float32(math.sqrt(2 / math.pi)))), fn="tanh"
    )
    half = binary(g, "mul", x, g.constant(np.float32(0.5)))
    return binary(g, "mul", half, binary(g, "add", curve, g.constant(np.float32(1))))


@rule("Mish")
def mish(g: Importer, c: Call) -> str:
    x = c.inputs[0]
    return binary(g, "mul", x, g.emit("unary", g.emit("unary", x, fn="softplus"), fn="tanh"))


@rule("Relu")
def relu(g: Importer, c: Call) -> str:
    return g.emit("clamp", c.inputs[0], lo=0.0)


@rule("Clip")
def clip(g: Importer, c: Call) -> str:
    bounds = {}
    for index, (ours, theirs) in enumerate((("lo", "min"), ("hi", "max")), 1):
        if c.input(index):
            bounds[ours] = float(g.array(c.inputs[index], f"the bound `{theirs}`").reshape(()))
        elif theirs in c.attrs:
            bounds[ours] = float(c.attrs[theirs])
    if bounds.get("lo", -math.inf) > bounds.get("hi", math.inf):
        bounds["lo"] = bounds["hi"]  # the standard: then everything is max
    return g.emit("clamp", c.inputs[0], **bounds)


@rule("PRelu")
def prelu(g: Importer, c: Call) -> str:
    x, slope = c.inputs
    if g.is_known(slope) and g.array(slope, "slope").size == 1:
        return g.emit("unary", x, fn="leaky_relu", alpha=float(g.array(slope, "slope").reshape(())))
    if len(g.shape(slope)) == 1 and g.shape(slope) == g.shape(x)[1:2]:  # of old: one a channel
        slope = g.reshape(slope, (*g.shape(slope), *(1 for _ in g.shape(x)[2:])))
    below = binary(g, "mul", g.emit("clamp", x, hi=0.0), slope)
    return binary(g, "add", g.emit("clamp", x, lo=0.0), below)


@rule("Cast", any_type=True)
def cast(g: Importer, c: Call) -> str:
    """Wider and half floats stay float32, int64 becomes int32: that is all there is at run time."""
    x, to = c.inputs[0], int(c.attrs["to"])
    dtype = np.dtype(np.float32) if to in WIDER else element_type(to)
    ours = of_numpy(np.dtype(np.int32) if dtype == np.int64 else dtype)
    if ours is None:
        raise refuse(f"brainc has no type {onnx.TensorProto.DataType.Name(to)}")
    return x if ours.numpy == g.dtype(x) else g.emit("cast", x, to=ours.name)


@rule("CastLike", any_type=True, constants=True)
def cast_like(g: Importer, c: Call) -> str:
    x, dtype = c.inputs[0], g.dtype(c.inputs[1])
    if g.is_known(x):
        return g.constant(g.array(x, "it").astype(dtype), c.outputs[0])
    return g.run("Cast", x, to=onnx.helper.np_dtype_to_tensor_dtype(dtype))
