"""Windows over time: the pass changes no answer, and takes only what is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainc import interp, spec
from brainc.dtypes import I8
from brainc.ir import Attr, Const, Entry, Graph, Node, Quant, Role, Stage, TensorType, Value, attrs, const_value
from brainc.passes.context import Context, Options
from brainc.passes.registers import shift_registers

QUANT = Quant.tensor(0.1, -7)
TABLE = const_value("table", np.arange(127, -129, -1).astype(np.int8), I8)


def value(name: str, rows: int, role: Role = Role.TEMP) -> Value:
    start = Const.of(np.arange(rows * 3, dtype=np.int8).reshape(1, rows, 3)) if role is Role.STATE else None
    return Value(name, TensorType(I8, (1, rows, 3), QUANT), role, start)


def streaming(new: int, old: int, **cut: Attr) -> Graph:
    """What comes is joined to what was; all of it goes through a table, the last of it is kept."""
    whole = new + old
    values = [value("x", new, Role.INPUT), value("s", old, Role.STATE), value("c", whole), value("t", old)]
    values += [value("y", whole, Role.OUTPUT), TABLE]
    given: dict[str, Attr] = {"starts": (0, new, 0), "sizes": (1, old, 3), "steps": (1, 1, 1), **cut}
    nodes = (
        Node("join", "concat", ("s", "x"), ("c",), attrs(axis=1)),
        Node("read", "qlut", ("c", "table"), ("y",)),
        Node("cut", "slice", ("c",), ("t",), attrs(**given)),
        Node("keep", "assign", ("s", "t"), ()),
    )
    return Graph("g", {v.name: v for v in values}, (Entry("step", ("x",), ("y",), nodes),), Stage.INTEGER)


def context() -> Context:
    return Context(Options(), has_kernel=lambda graph, node: True)


def ops_of(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes()]


@pytest.mark.parametrize(("new", "old"), [(1, 4), (2, 5), (3, 3)])
def test_a_window_is_pushed_into(new: int, old: int) -> None:
    before = streaming(new, old)
    after = shift_registers(before, context())
    spec.verify(after)
    assert ops_of(after) == ["push", "qlut"]
    states = [interp.fresh_state(graph) for graph in (before, after)]
    for seed in range(12):
        feed = interp.random_inputs(before, None, seed)
        want, got = (interp.run(g, None, feed, s)["y"] for g, s in zip((before, after), states, strict=True))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "graph",
    [
        streaming(5, 3),  # more comes than is kept
        streaming(2, 4, starts=(0, 0, 0)),  # the first are kept
        streaming(2, 4, starts=(0, 5, 0), steps=(1, -1, 1)),
    ],
    ids=["wide", "first", "backwards"],
)
def test_what_is_no_window_stays(graph: Graph) -> None:
    spec.verify(graph)
    assert shift_registers(graph, context()) is graph


def test_a_state_that_others_read_stays() -> None:
    graph = streaming(1, 4)
    (entry,) = graph.entries
    extra = value("z", 4, Role.OUTPUT)
    nodes = (*entry.nodes[:3], Node("peek", "qlut", ("s", "table"), ("z",)), entry.nodes[3])
    entry = replace(entry, nodes=nodes, outputs=("y", "z"))
    graph = graph.replaced(values={**graph.values, "z": extra}, entries=(entry,))
    assert shift_registers(graph, context()) is graph


def test_a_window_that_leaves_stays() -> None:
    graph = streaming(1, 4)
    (entry,) = graph.entries
    values = {**graph.values, "c": replace(graph.values["c"], role=Role.OUTPUT)}
    graph = graph.replaced(values=values, entries=(replace(entry, outputs=("y", "c")),))
    assert shift_registers(graph, context()) is graph
