"""What the proof takes for exact: brains whose outputs are compared to the byte."""

from __future__ import annotations

import pytest

from brainc import check, ops
from brainc.dtypes import F32
from brainc.ir import Entry, Graph, Node, Role, TensorType, Value


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
