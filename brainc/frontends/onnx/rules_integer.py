"""Rules for layers whose operands are plain integers and whose results are int32 sums.

`MatMulInteger` becomes `qdot`, with the zero points in its weights and biases; an `Add` of int32 constants behind one
is its bias.
"""

from __future__ import annotations

from math import prod

import numpy as np

from brainc.dtypes import F32, Array
from brainc.frontends.moves import refuse
from brainc.frontends.onnx.importer import FLOATS, Importer
from brainc.frontends.onnx.rules import Call, Result, rule_of_any
from brainc.frontends.onnx.rules_math import arithmetic
from brainc.ir import Node


@rule_of_any("MatMulInteger")
def dot(g: Importer, c: Call) -> str:
    """(a - its zero point) @ (b - its zero points) with a constant matrix b."""
    a, b = c.inputs[:2]
    if b not in g.known or a in g.known or len(g.shape(b)) != 2:
        raise refuse("its second operand is no constant matrix, or its first is constant")
    zero = int(_zeros(g, c.input(2)).reshape(()))
    w = (g.array(b, "b").astype(np.int64) - _zeros(g, c.input(3))).T
    if w.min(initial=0) < -128 or w.max(initial=0) > 127:
        raise refuse("its weights less their zero points are not within int8", "use int8 weights around zero")
    x = g.reshape(a, (prod(g.shape(a)) // w.shape[1], w.shape[1]))
    if g.dtype(a) == np.uint8:
        x, zero = g.emit("qshift8", x), zero - 128
    bias = g.constant((-zero * w.sum(axis=1)).astype(np.int32), f"{b}/bias")
    return g.reshape(g.emit("qdot", x, g.constant(w.astype(np.int8), f"{b}/rows"), bias), g.results(c)[0])


@rule_of_any("Add")
def addition(g: Importer, c: Call) -> Result:
    """Reals; or, behind a `qdot`, its biases: int32, one a row of its weights."""
    for x, b in (c.inputs, c.inputs[::-1]):
        maker = _maker(g, x)
        if maker is not None and b in g.known and g.shape(b) in ((), g.shape(x)[-1:], (1, *g.shape(x)[-1:])):
            bias = g.known[maker.inputs[2]].array.astype(np.int64) + g.array(b, "b").reshape(-1)
            if np.abs(bias).max(initial=0) > np.iinfo(np.int32).max:
                raise refuse("its biases do not fit into int32")
            again = g.emit("qdot", *maker.inputs[:2], g.constant(bias.astype(np.int32), f"{x}/bias"))
            return g.reshape(again, g.shape(x))
    for name in c.inputs:
        if name not in g.known and (type_ := g.values[name].type).dtype is not F32:
            raise refuse(f"it works on {type_.dtype} values", FLOATS)
    return arithmetic(g, c)


def _zeros(g: Importer, name: str) -> Array:
    """Zero points of an operand, 0 where they are left out; int64."""
    return g.array(name, "its zero point").astype(np.int64) if name else np.zeros((), np.int64)


def _maker(g: Importer, x: str) -> Node | None:
    """The `qdot` that makes x, or what x is another shape of."""
    for node in reversed(g.nodes):
        if node.outputs == (x,) and node.op == "reshape":
            x = node.inputs[0]
        elif node.outputs == (x,):
            return node if node.op == "qdot" else None
    return None
