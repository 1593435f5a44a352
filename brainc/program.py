"""All that an emitter may know: the facts (graph) and the decisions (kernels, memory) side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from brainc import ops
from brainc.expressions import evaluate
from brainc.ir import Graph, Node, Role, Value
from brainc.kernels import Choice, environment
from brainc.language import Language
from brainc.memory import Plan
from brainc.spmd import Layout
from brainc.target import Accent, Target


@dataclass(frozen=True, slots=True)
class Voice:
    """The kernels of one accent: for each node the one that fits best."""

    accent: Accent
    choices: Mapping[str, Choice]


@dataclass(frozen=True, slots=True)
class Host:
    """What is decided for a brain that is a program on a desktop: the voices, the lowest first, and the memory."""

    language: Language
    voices: tuple[Voice, ...]
    layout: Layout


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled brain: what to compute, with which kernels, where, on which machine."""

    graph: Graph
    target: Target
    choices: Mapping[str, Choice]
    plan: Plan
    notes: tuple[str, ...] = ()  # what the passes saved or decided, for the user
    portable: bool = False  # plain C: without the target's own kernels and primitives
    optimize: str = "speed"  # "speed" | "ram" | "flash": what mattered most in the choices
    host: Host | None = None  # of a brain that reads and writes text

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def steps(self) -> Iterator[Node]:
        """The nodes of every entry as they run."""
        entries = self.plan.entries or self.graph.entries  # a language model's run in the graph's order
        return (node for entry in entries for node in entry.nodes)

    @property
    def chain_values(self) -> dict[str, Value]:
        """Values that are in no graph: those of layers that run row by row, on their way to a result."""
        return {n: v for e in self.plan.entries for chain in e.chains.values() for n, v in chain.values.items()}

    @property
    def work(self) -> int:
        """Multiply-accumulates of all nodes."""
        return sum(map(self.macs, self.graph.nodes()))

    @property
    def constant_bytes(self) -> int:
        """Bytes of all constants, before packing."""
        return sum(v.type.nbytes for v in self.graph.values.values() if v.role is Role.CONST)

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of a node, by its op's formula."""
        formula = ops.get(node.op).macs
        return 0 if formula == "0" else int(evaluate(formula, environment(self.graph, node)))
