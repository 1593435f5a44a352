"""The kernel table takes a head at its word: what `types` does not list, a kernel is not given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from kernel_rig import one_node

from brainc import ops
from brainc.ir import Entry, Graph, Node, attrs
from brainc.kernels import KernelTable
from brainc.target import load_target

OPTIONAL = [op.name for op in ops.all_ops().values() if any(o.optional for o in op.inputs)]


def nodes(name: str) -> Iterator[tuple[Graph, Node]]:
    """The sample cases of an op, each as a graph of one node."""
    op = ops.get(name)
    assert op.make_cases is not None
    for arrays, given in op.make_cases(np.random.default_rng(0)):
        node, values = one_node(op, arrays, attrs(**given))
        yield Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),)), node


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("target", ["c99", "x86-avx2", "cortex-m3", "cortex-m4", "cortex-m55"])
def test_an_operand_that_a_head_does_not_list_rules_the_kernel_out(target: str, name: str) -> None:
    table = KernelTable(load_target(target))
    for graph, node in nodes(name):
        for verdict in table.explain(graph, node):
            assert verdict.failed or len(verdict.kernel.ins) >= len(node.inputs)


def test_a_variadic_operand_is_as_often_as_it_comes() -> None:
    table = KernelTable(load_target("c99"))
    most = 0
    for graph, node in nodes("concat"):
        fitting = [v.kernel for v in table.explain(graph, node) if not v.failed]
        assert fitting
        most = max(most, len(node.inputs) - len(fitting[0].ins))
    assert most > 0
