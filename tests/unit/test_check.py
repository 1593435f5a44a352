"""What the proof takes for exact (brains whose outputs are compared to the byte), and which node it accuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import Builder

from brainc import check, memory, ops
from brainc.dtypes import F32, I32
from brainc.ir import Entry, Graph, Node, Role, TensorType, Value, const_value
from brainc.kernels import KernelTable
from brainc.program import Program
from brainc.target import load_target


def graph_of(*names: str) -> Graph:
    """A chain of these ops over reals; nothing runs it."""
    values = [Value(f"v{i}", TensorType(F32, (1, 64)), Role.INPUT) for i in range(len(names) + 1)]
    nodes = tuple(Node(f"n{i}", op, (f"v{i}",), (f"v{i + 1}",)) for i, op in enumerate(names))
    return Graph("g", {v.name: v for v in values}, (Entry("step", ("v0",), (values[-1].name,), nodes),))


@pytest.mark.parametrize("name", [op.name for op in ops.all_ops().values() if op.bits])
def test_reals_with_an_order_of_every_sum_are_exact(name: str) -> None:
    assert check.is_exact(graph_of(name))


def test_one_op_of_free_reals_makes_a_brain_inexact() -> None:
    assert not check.is_exact(graph_of("rms", "softmax", "densef"))
    assert check.is_exact(graph_of("rms", "reshape", "densef"))


def counted() -> Program:
    """Rows of a table, of which the first n are computed; the last of these leaves, times a weight."""
    b = Builder()
    table, weight = b.rng.standard_normal((9, 32)).astype(np.float32), b.const(np.full(32, 2, np.float32))
    table[0] = 0
    tokens, n = b.input("tokens", (5,), I32), b.input("n", (1,), I32)
    rows = b.add("embed", b.const(table), tokens, n)
    graph, target = b.graph(b.add("last", b.add("rms", rows, weight, "", n, eps=1e-5), n)), load_target("c99")
    choices = {node.name: KernelTable(target).choose(graph, node) for node in graph.nodes()}
    return Program(graph, target, choices, memory.plan(graph, choices, align=4))


def test_rows_that_nobody_computes_accuse_no_node() -> None:
    """The C has another weight: the node that reads it is named, and none before it for the rows behind n, where the
    sample before left its own."""
    program = counted()
    vectors = {"tokens": np.array([[3, 1, 4, 1, 0], [2, 7, 1, 8, 2]], np.int32), "n": np.array([[5], [2]], np.int32)}
    assert check.prove(program, vectors).equal
    name = next(node for node in program.graph.nodes() if node.op == "rms").inputs[1]
    ones = const_value(name, np.ones(32, np.float32), F32)
    other = replace(program, graph=program.graph.replaced(values={**program.graph.values, name: ones}))
    with pytest.MonkeyPatch.context() as patch:
        emit = check.emit.emit
        patch.setattr(check.emit, "emit", lambda _, trace="": emit(program, trace))
        told = check.prove(other, vectors).first_difference
    assert told and told.startswith("sample 1") and "first at node n_rms1 " in told
