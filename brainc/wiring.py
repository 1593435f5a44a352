"""Small questions about wires: what a port carries, whether two ports agree, who is called first.

`link.py` asks. Nothing here knows files or builds graphs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
    quants = {
        Quant.tensor(float(node.attrs["scale"]), int(node.attrs["zero"]))  # type: ignore[arg-type]
        if node.op == ("to_int" if producer else "from_int")
        else None
        for node in doors
    }
    return replace(type_, quant=quants.pop()) if len(quants) == 1 else type_


def same(a: TensorType, b: TensorType) -> bool:
    """Equal element type and shape, and equal scale and zero point where both are known."""
    return (a.dtype, a.shape) == (b.dtype, b.shape) and _alike(a.quant, b.quant)


def _alike(a: Quant | None, b: Quant | None) -> bool:
    if a is None or b is None:
        return True
    close = all(math.isclose(x, y, rel_tol=1e-6) for x, y in zip(a.scale, b.scale, strict=False))
    return close and (a.zero, a.axis) == (b.zero, b.axis) and len(a.scale) == len(b.scale)


def conversion(source: TensorType, target: TensorType) -> tuple[Step, ...] | None:
    """The ops (results without scale) that turn a port's type into another of as many elements, else None."""
    a, b = source.quant, target.quant
    if source.size != target.size or any(q is not None and q.axis is not None for q in (a, b)):
        return None
    steps: list[Step] = []
    real = TensorType(F32, target.shape)
    if source.shape != target.shape:
        steps.append(("reshape", attrs(shape=target.shape), replace(source, shape=target.shape)))
    if source.dtype is target.dtype and _alike(a, b):
        return tuple(steps)
    to_real, to_target = ("from_int", _affine(a), real), ("to_int", _affine(b, target), target)
    cast = ("cast", attrs(to=target.dtype.name), target)
    if a and b:
        steps += [to_real, ("clamp", attrs(), real), to_target]  # a clamp that bounds nothing: requantise
    elif b and source.dtype.kind == "float":
        steps.append(to_target)
    elif a and target.dtype.kind == "float":
        steps += [to_real] if target.dtype is F32 else [to_real, cast]
    else:
        steps.append(cast)
    return tuple(steps)


def _affine(quant: Quant | None, result: TensorType | None = None) -> Attrs:
    dtype = {"dtype": result.dtype.name} if result else {}
    return attrs(scale=quant.scale[0], zero=quant.zero[0], **dtype) if quant else attrs()


def call_order(brain: Brain, wires: Sequence[Wire]) -> tuple[str, ...]:
    """Modules so that each comes after those it reads; `entries` decides where they read each other."""
    listed = next(iter(brain.entries.values()), tuple(brain.modules))
    needs: dict[str, set[str]] = {name: set() for name in listed}
    for wire in wires:
        if wire.target.module in needs and wire.source.module in needs.keys() - {wire.target.module}:
            needs[wire.target.module].add(wire.source.module)
    order: list[str] = []
    while len(order) < len(listed):
        left = [name for name in listed if name not in order]
        ready = [name for name in left if needs[name] <= set(order)]
        order.append(ready[0] if ready else _open_circle(brain, wires, left, needs))
    return tuple(order)


def _open_circle(
    brain: Brain, wires: Sequence[Wire], left: Sequence[str], needs: Mapping[str, set[str]]
) -> str:
    """The module of a circle to call first: the first one in `entries`; an error if there is no such word."""
    above = {name: _reach(name, needs, left) for name in left}
    first = next(name for name in left if all(name in above[other] for other in above[name]))
    circle = [name for name in left if name in above[first]]
    if not brain.entries:
        back = next(w for w in wires if w.target.module == first and w.source.module in circle)
        raise ManifestError(
            f"modules {' and '.join(circle)} wait for each other",
            fix=f"say in [brain] who is called first: entries = {{ step = {list(brain.modules)} }}\n"
            "a wire back to an earlier module then carries the value of the call before".replace("'", '"'),
            where=back.where,
        )
    return first


def _reach(name: str, needs: Mapping[str, set[str]], left: Sequence[str]) -> set[str]:
    """All modules that must come before `name`, among those left."""
    found: set[str] = set()
    todo = needs[name] & set(left)
    while todo:
        found |= todo
        todo = {up for node in todo for up in needs[node] if up in left} - found
    return found
