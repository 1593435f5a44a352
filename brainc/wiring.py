"""Small questions about wires: what a port carries, whether two ports agree, who is called first.

`link.py` asks. Nothing here knows files or builds graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from brainc.brain import Brain, Wire
from brainc.dtypes import F32
from brainc.errors import ManifestError
from brainc.ir import Attrs, Graph, Quant, TensorType, attrs

Step = tuple[str, Attrs, TensorType]  # op, attributes, result type


def port_type(graph: Graph, port: str) -> TensorType:
    """A port's type; its scale, if the value has none, is that of the quantisation right behind the door."""
    type_ = graph.type(port)
    if type_.quant is not None or not type_.dtype.is_integer:
        return type_
    producer = graph.producers().get(port)
    doors = [producer] if producer else graph.consumers().get(port, [])
    op = "to_int" if producer else "from_int"
    scales = {(node.attrs["scale"], node.attrs["zero"]) if node.op == op else None for node in doors}
    scale = scales.pop() if len(scales) == 1 else None
    return replace(type_, quant=Quant.tensor(*scale)) if scale else type_  # type: ignore[arg-type]


def same(a: TensorType, b: TensorType) -> bool:
    """Equal element type and shape, and equal scale and zero point where both are known."""
    return (a.dtype, a.shape) == (b.dtype, b.shape) and _alike(a.quant, b.quant)


def _alike(a: Quant | None, b: Quant | None) -> bool:
    if a is None or b is None:
        return True
    return (a.zero, a.axis) == (b.zero, b.axis) and np.allclose(a.scale, b.scale, rtol=1e-6, atol=0)


def conversion(source: TensorType, target: TensorType) -> tuple[Step, ...] | None:
    """The ops (results without scale) that turn a port's type into another of as many elements, else None."""
    a, b, real = source.quant, target.quant, TensorType(F32, target.shape)
    if source.size != target.size or any(q is not None and q.axis is not None for q in (a, b)):
        return None
    steps: list[Step] = []
    if source.shape != target.shape:
        steps.append(("reshape", attrs(shape=target.shape), replace(source, shape=target.shape)))
    if source.dtype is target.dtype and _alike(a, b):
        return tuple(steps)
    if a and (b or target.dtype.kind == "float"):
        steps.append(("from_int", attrs(scale=a.scale[0], zero=a.zero[0]), real))
        if b:
            steps.append(("clamp", attrs(), real))  # a clamp that bounds nothing: requantise
    if b and (a or source.dtype.kind == "float"):
        given = attrs(scale=b.scale[0], zero=b.zero[0], dtype=target.dtype.name)
        steps.append(("to_int", given, target))
    elif not (a and target.dtype is F32):
        steps.append(("cast", attrs(to=target.dtype.name), target))
    return tuple(steps)


def call_order(brain: Brain, wires: Sequence[Wire]) -> tuple[str, ...]:
    """Modules so that each comes after those it reads; `entries` decides where they read each other."""
    left = list(next(iter(brain.entries.values()), brain.modules))
    order: list[str] = []
    while left:
        above = _above(left, wires)
        free = [name for name in left if all(name in above[other] for other in above[name])]
        first = min(free, key=lambda name: bool(above[name]))  # who waits for nobody, else who opens a circle
        if above[first] and not brain.entries:
            circle = [name for name in left if name in above[first]]
            back = next(w for w in wires if w.target.module == first and w.source.module in circle)
            names = ", ".join(f'"{name}"' for name in brain.modules)
            raise ManifestError(
                f"modules {' and '.join(circle)} wait for each other",
                fix=f"say in [brain] who is called first: entries = {{ step = [{names}] }}\n"
                "a wire back to an earlier module then carries the value of the call before",
                where=back.where,
            )
        order.append(first)
        left.remove(first)
    return tuple(order)


def _above(names: Sequence[str], wires: Sequence[Wire]) -> dict[str, set[str]]:
    """For each module the others that it waits for, directly or through others (itself in a circle)."""
    above: dict[str, set[str]] = {name: set() for name in names}
    for wire in wires:
        if wire.target.module in above and wire.source.module in above.keys() - {wire.target.module}:
            above[wire.target.module].add(wire.source.module)
    for via, name in product(names, names):
        if via in above[name]:
            above[name] |= above[via]
    return above
