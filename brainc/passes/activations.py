"""Activations that an exporter spelt out: one function of one variable again, and so one table in int8.

Knocks: a graph with `x * clip(x + 3, 0, 6) / 6` and the like. Leaves: `unary` nodes in their place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from brainc.ir import Graph, Node, attrs
from brainc.passes.context import Context
from brainc.passes.fold import number
from brainc.passes.rewrite import Replacement, View, apply, rule

CLOSE = 1e-4  # how near a constant must be to the one meant


def name_activations(graph: Graph, context: Context) -> Graph:
    """hard_swish, silu and gelu by their names."""
    return apply(graph, (hard_sigmoid, swish, scaled_swish, gelu), context.note)


def scaled(name: str, view: View) -> tuple[str, float] | None:
    """(x, factor) if `name` is x times, or divided by, one number."""
    node = view.producer(name, "mul", "div")
    if node is None or not _plain(node, view):
        return None
    for x, c in _both_ways(node) if node.op == "mul" else (node.inputs,):
        factor = _scalar(c, view)
        if factor:
            return x, factor if node.op == "mul" else 1.0 / factor
    return None


def _both_ways(node: Node) -> Iterator[tuple[str, str]]:
    yield node.inputs[0], node.inputs[1]
    yield node.inputs[1], node.inputs[0]


def _plain(node: Node, view: View) -> bool:
    """Whether the node is all real, without bounds: what a model quantises in between stays as it is."""
    return not _bounded(node) and all(view.type(n).quant is None for n in (*node.inputs, *node.outputs))


def _bounded(node: Node) -> bool:
    return "lo" in node.attrs or "hi" in node.attrs


def _scalar(name: str, view: View) -> float | None:
    if not view.is_const(name) or view.type(name).quant or view.type(name).size != 1:
        return None
    return float(view.array(name).reshape(-1)[0])


def _is(have: float | None, want: float) -> bool:
    return have is not None and math.isclose(have, want, rel_tol=CLOSE)


def _unary(node: Node, x: str, fn: str, **given: float) -> Replacement:
    named = attrs(fn=fn, **given)
    return Replacement((Node(node.name, "unary", (x,), node.outputs, named, node.where),))


@rule("mul", "div")
def hard_sigmoid(node: Node, view: View) -> Replacement | None:
    """clip(x + 3, 0, 6) / 6."""
    found = scaled(node.outputs[0], view)
    step = view.producer(found[0], "add") if found else None
    if not found or not step or not _is(found[1], 1 / 6) or not _is(_scalar(step.inputs[1], view), 3.0):
        return None
    if (step.attrs.get("lo"), step.attrs.get("hi")) != (0.0, 6.0):
        return None
    return _unary(node, step.inputs[0], "hard_sigmoid", alpha=1 / 6, beta=0.5)


@rule("mul")
def swish(node: Node, view: View) -> Replacement | None:
    """x * sigmoid(x), and the same with a hard sigmoid of slope 1/6."""
    for x, gate in _both_ways(node) if _plain(node, view) else ():
        inner = view.producer(gate, "unary")
        if inner is None or inner.inputs[0] != x or view.shape(x) != view.shape(node.outputs[0]):
            continue
        if inner.attrs["fn"] == "sigmoid":
            return _unary(node, x, "silu")
        if inner.attrs["fn"] == "hard_sigmoid" and _is(number(inner.attrs["alpha"]), 1 / 6):
            return _unary(node, x, "hard_swish") if _is(number(inner.attrs["beta"]), 0.5) else None
    return None


@rule("mul", "div")
def scaled_swish(node: Node, view: View) -> Replacement | None:
    """x * clip(x + 3, 0, 6) / 6, divided at the end."""
    found = scaled(node.outputs[0], view)
    product = view.producer(found[0], "mul") if found else None
    if not found or not product or _bounded(product) or not _is(found[1], 1 / 6):
        return None
    for x, gate in _both_ways(product):
        step = view.producer(gate, "add")
        if step is None or step.inputs[0] != x or not _is(_scalar(step.inputs[1], view), 3.0):
            continue
        if (step.attrs.get("lo"), step.attrs.get("hi")) == (0.0, 6.0):
            return _unary(node, x, "hard_swish")
    return None


@rule("mul")
def gelu(node: Node, view: View) -> Replacement | None:
    """0.5 * x * (1 + erf(x / sqrt 2)), the half at either end."""
    for left, right in _both_ways(node) if _plain(node, view) else ():
        half = _scalar(right, view)
        product = view.producer(left, "mul") if _is(half, 0.5) else None
        if product and not _bounded(product):
            for x, gate in _both_ways(product):
                if _erf_gate(gate, view) == x:
                    return _unary(node, x, "gelu")
        halved = scaled(left, view)
        if halved and _is(halved[1], 0.5) and _erf_gate(right, view) == halved[0]:
            return _unary(node, halved[0], "gelu")
    return None


def _erf_gate(name: str, view: View) -> str | None:
    """x if `name` is 1 + erf(x / sqrt 2)."""
    step = view.producer(name, "add")
    inner = view.producer(step.inputs[0], "unary") if step and not _bounded(step) else None
    if not step or not inner or inner.attrs["fn"] != "erf" or not _is(_scalar(step.inputs[1], view), 1.0):
        return None
    found = scaled(inner.inputs[0], view)
    return found[0] if found and _is(found[1], math.sqrt(0.5)) else None
