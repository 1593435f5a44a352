"""Every kernel of a target, bound to every sample case of its op that it accepts, as C that can be called.

The tests beside this file ask for a `Rig`; what leaves is the C text of all kernels with one wrapper a job,
and for each job its operands, its expected result and what its head claims about memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from brainc import memory, ops
from brainc.dtypes import Array, of_numpy
from brainc.emit import render_kernel
from brainc.ir import Entry, Graph, Node, Role, TensorType, Value, attrs, const_value
from brainc.kernels import Choice, Kernel, KernelTable
from brainc.program import Program
from brainc.resources import templates_dir
from brainc.target import Target
from brainc.views import Viewer
from brainc.weights import c_float


@dataclass(frozen=True)
class Job:
    """One kernel on one case: C wrapper `name`, operands as the kernel wants them, expected result."""

    name: str
    kernel: Kernel
    node: Node
    choice: Choice
    operands: tuple[Array, ...]
    constant: tuple[bool, ...]
    expected: Array
    overlaps: tuple[tuple[int, int], ...]  # (operand, least distance from y's start to its own, in bytes)

    @property
    def exact(self) -> bool:
        return self.expected.dtype.kind != "f"


@dataclass(frozen=True)
class Rig:
    """All jobs of a target and the C they need."""

    target: Target
    jobs: tuple[Job, ...]
    source: str


def jobs_of(target: Target, *, seed: int = 0) -> Rig:
    """Binds every kernel that the target may use to every case of its op."""
    nodes = list(_nodes(KernelTable(target), seed))
    values = {v.name: v for *_, vs in nodes for v in vs}
    inputs = tuple(n for n, v in values.items() if v.role is Role.INPUT)
    entry = Entry("step", inputs, (), tuple(node for _, node, _, _ in nodes))
    graph = Graph("rig", values, (entry,))
    choices = {node.name: choice for _, node, choice, _ in nodes}
    align = min(target.word // 8, 4)
    viewer = Viewer(Program(graph, target, choices, cast(memory.Plan, None)))
    steps = {s.name: s for s in memory.problem_of(graph, entry, choices, align).steps}
    jobs, wrappers = [], []
    for kernel, node, choice, _ in nodes:
        fn = viewer.function(node, choice)
        operands = tuple(_operand(viewer, node, choice, i) for i in range(len(node.inputs)))
        overlaps = tuple((node.inputs.index(o.x), o.distance) for o in steps[node.name].overlaps)
        jobs.append(_job(graph, kernel, node, choice, operands, overlaps))
        wrappers.append(_wrapper(node, choice, fn))
    texts = [render_kernel(f.kernel, f.env, f.fn, f.params) for f in viewer.functions.values()]
    return Rig(target, tuple(jobs), "\n".join([headers(target), *texts, *wrappers]))


def headers(target: Target) -> str:
    """What comes before the kernels in a brain's C."""
    port = target.find("port.h")
    assert port is not None
    own = [templates_dir() / "fixed.h", templates_dir() / "float.h"]
    return "\n".join(p.read_text(encoding="utf-8") for p in (port, *own))


def _nodes(table: KernelTable, seed: int) -> Iterator[tuple[Kernel, Node, Choice, list[Value]]]:
    """(kernel, node, choice, values) for every case that a kernel accepts."""
    for name, op in ops.all_ops().items():
        if op.make_cases is None:
            continue
        for case, (arrays, given) in enumerate(op.make_cases(np.random.default_rng(seed))):
            node, values = _one_node(op, f"{name}_{case}", arrays, attrs(**given))
            graph = Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),))
            for index, verdict in enumerate(table.explain(graph, node)):
                if not verdict.failed:
                    chosen = KernelTable(table.target, {node.name: verdict.kernel.name}).choose(graph, node)
                    prefix = f"job_{name}_{case}_{index}"
                    yield verdict.kernel, *_renamed(prefix, node, chosen, values)


def _one_node(
    op: ops.Op, name: str, arrays: list[Array | None], given: ops.Attrs
) -> tuple[Node, list[Value]]:
    values = []
    for index, array in enumerate(arrays):
        assert array is not None, "canonical graphs leave no operand out"
        dtype = of_numpy(array.dtype)
        assert dtype is not None
        value = const_value(f"{name}/{index}", array, dtype)
        role = Role.CONST if op.operand_at(index).constant else Role.INPUT
        values.append(replace(value, role=role))
    ins: list[TensorType | None] = [v.type for v in values]
    outs = [Value(f"{name}/y{i}", t) for i, t in enumerate(op.infer(ins, given))]
    node = Node(name, op.name, tuple(v.name for v in values), tuple(o.name for o in outs), given)
    return node, [*values, *outs]


def _renamed(
    prefix: str, node: Node, choice: Choice, values: list[Value]
) -> tuple[Node, Choice, list[Value]]:
    """The same under names of its own, so that all jobs fit into one graph."""
    fresh = {v.name: f"{prefix}/{v.name}" for v in values}
    ins, outs = (tuple(fresh[n] for n in names) for names in (node.inputs, node.outputs))
    return (
        replace(node, name=prefix, inputs=ins, outputs=outs),
        choice,
        [replace(v, name=fresh[v.name]) for v in values],
    )


def _operand(viewer: Viewer, node: Node, choice: Choice, index: int) -> Array:
    operand = ops.get(node.op).operand_at(index)
    if operand.constant:
        return viewer.constant(node, choice, operand.name, node.inputs[index]).array
    return viewer.graph.array(node.inputs[index])


def _job(
    graph: Graph,
    kernel: Kernel,
    node: Node,
    choice: Choice,
    operands: tuple[Array, ...],
    overlaps: tuple[tuple[int, int], ...],
) -> Job:
    op = ops.get(node.op)
    given = [graph.array(i).copy() for i in node.inputs]
    results = op.run(given, node.attrs)
    expected = results[0] if results else given[0]
    constant = tuple(op.operand_at(i).constant for i in range(len(node.inputs)))
    return Job(node.name, kernel, node, choice, operands, constant, expected, overlaps)


def _wrapper(node: Node, choice: Choice, fn: str) -> str:
    """`void JOB(void *const *at)`: at[i] is operand i, then come the result and the scratch."""
    op, kernel = ops.get(node.op), choice.kernel
    words = []
    for arg in kernel.args:
        if arg in kernel.bake:
            continue
        if arg == "scratch":
            words.append(f"at[{len(node.inputs) + 1}]")
        elif arg in [o.name for o in op.outputs]:
            words.append(f"at[{len(node.inputs)}]")
        elif arg in [o.name for o in op.inputs]:
            first = [o.name for o in op.inputs].index(arg)
            last = len(node.inputs) if op.inputs[first].variadic else first + 1
            words += [f"at[{i}]" for i in range(first, last)]
        else:
            value = choice.env[arg]
            words.append(c_float(value) if isinstance(value, float) else str(value))
    return (
        f"void {node.name}(void *const *at);\n"
        f"void {node.name}(void *const *at)\n{{\n    {fn}({', '.join(words)});\n}}\n"
    )
