"""All that an emitter may know: the facts (graph) and the decisions (kernels, memory) side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from brainc import ops
from brainc.expressions import evaluate
from brainc.ir import Graph, Node
from brainc.kernels import Choice, environment
from brainc.memory import Plan
from brainc.target import Target


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled brain: what to compute, with which kernels, where, on which machine."""

    graph: Graph
    target: Target
    choices: Mapping[str, Choice]
    plan: Plan
    notes: tuple[str, ...] = ()  # what the passes saved or decided, for the user
    portable: bool = False  # plain C: without the target's own kernels and primitives

    @property
    def name(self) -> str:
        return self.graph.name

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of one node."""
        return macs(self.graph, node)


def macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of a node, by its op's formula."""
    formula = ops.get(node.op).macs
    return 0 if formula == "0" else int(evaluate(formula, environment(graph, node)))
