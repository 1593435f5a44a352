"""Every kernel of a target, bound to every sample case of its op that it accepts, as C that can be called.

The tests beside this file ask for a `Rig`; what leaves is the C text of all kernels with one wrapper a job,
and for each job its operands, its expected result and what its head claims about memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from brainc import memory, ops
from brainc.dtypes import DTYPES, F16, Array, of_numpy
from brainc.emit import render_kernel
from brainc.expressions import evaluate
from brainc.ir import Attr, Attrs, Entry, Graph, Node, Role, TensorType, Value, attrs, const_value
from brainc.kernels import Choice, Kernel, KernelTable
from brainc.ops import Case
from brainc.program import Program
from brainc.resources import templates_dir
from brainc.target import Target
from brainc.views import Viewer
from brainc.weights import c_float

Bound = tuple[Node, Choice, list[Value]]
Pick = Callable[[Kernel], bool]


@dataclass(frozen=True)
class Lap:
    """A place of the result over an operand: x begins `gap` bytes behind y, and rows run up or down."""

    operand: int
    gap: int
    down: bool = False

    def farther(self, more: int) -> Lap:
        """The same, that much farther apart."""
        return replace(self, gap=self.gap - more if self.down else self.gap + more)


@dataclass(frozen=True)
class Job:
    """One kernel on one case: C wrapper `name`, operands as the kernel wants them, expected result."""

    name: str
    fn: str
    node: Node
    choice: Choice
    operands: tuple[Array, ...]
    constant: tuple[bool, ...]
    expected: Array
    overlaps: tuple[Lap, ...]
    states: Mapping[int, Array]  # what the operands that it changes are afterwards, by their number

    @property
    def kernel(self) -> Kernel:
        return self.choice.kernel

    def takes(self, index: int) -> bool:
        """Whether the kernel is handed this operand (a pack may have merged it into another)."""
        return ops.get(self.node.op).operand_at(index).name in self.kernel.args

    @property
    def exact(self) -> bool:
        return ops.get(self.node.op).exact or self.expected.dtype.kind != "f"

    @property
    def shares(self) -> int:
        """Of how many shares a call is made."""
        return int(evaluate(self.kernel.split, self.choice.env)) if self.kernel.split else 1

    @property
    def rows(self) -> int:
        """How many rows of the result are computed: all, or the number that the op's operand n says."""
        names = [o.name for o in ops.get(self.node.op).inputs]
        index = (
            names.index("n") if "n" in names and self.node.outputs and self.node.op != "last" else len(self.operands)
        )
        there = index < len(self.operands) and self.operands[index].size
        return int(self.operands[index][0]) if there else len(self.expected)


@dataclass(frozen=True)
class Rig:
    """All jobs of a target, what comes before the kernels in C, and each C function by name."""

    target: Target
    jobs: tuple[Job, ...]
    head: str
    functions: Mapping[str, str]

    @property
    def source(self) -> str:
        """The C that these jobs need."""
        used = {job.fn for job in self.jobs}
        for fn in reversed(self.functions):  # a shared part stands before those who call it
            names = set(re.findall(r"\b(\w+?_\d+)(?:_\w+)?\b", self.functions[fn])) if fn in used else set()
            used |= names & self.functions.keys()
        return "\n".join([self.head, *(text for fn, text in self.functions.items() if fn in used)])


def jobs_of(target: Target, *, seed: int = 0, portable: bool = False, only: Pick = lambda kernel: True) -> Rig:
    """Binds every kernel that the target may use (and `only` picks) to every case of its op."""
    table = KernelTable(target, portable=portable)
    cases = ((op, *case) for op in ops.all_ops().values() for case in _cases(op, seed))
    return rig_of(table, [n for op, arrays, given in cases for n in _bound(table, op, arrays, given, only)])


def rig_of(table: KernelTable, nodes: list[Bound]) -> Rig:
    """The C of all these nodes, every kernel function rendered once."""
    renamed = [_renamed(f"job_{i}_{node.op}", node, choice, vs) for i, (node, choice, vs) in enumerate(nodes)]
    values = {v.name: v for *_, vs in renamed for v in vs}
    inputs = tuple(n for n, v in values.items() if v.role is Role.INPUT)
    entry = Entry("step", inputs, (), tuple(node for node, _, _ in renamed))
    graph = Graph("rig", values, (entry,))
    choices = {node.name: choice for node, choice, _ in renamed}
    target = table.target
    viewer = Viewer(Program(graph, target, choices, memory.Plan(0, 0, 0, True, 1, (), {})))
    align = min(target.word // 8, 4)
    steps = {s.name: s for s in memory.problem_of(graph, entry, choices, align).steps}
    jobs = []
    for node, choice, _ in renamed:
        laps = steps[node.name].overlaps
        overlaps = [Lap(node.inputs.index(o.x), o.distance) for o in laps]
        overlaps += [Lap(node.inputs.index(o.x), -o.below, True) for o in laps if o.below is not None]
        jobs.append(_job(viewer, node, choice, tuple(overlaps)))
    functions = {f.fn: render_kernel(f) for f in viewer.functions.values()}
    return Rig(target, tuple(jobs), headers(target), functions)


def wrappers(rig: Rig) -> str:
    """`void JOB(void *const *at)` for each job: at[i] is operand i, then come the result and the scratch.

    JOB_down runs its rows from the last to the first. A call made in shares is two, the second half first, as threads
    might do it; JOB_whole is the one call.
    """
    texts = []
    for job in rig.jobs:
        places = [f"at[{i}]" for i in range(len(job.operands) + 2)]
        half = job.shares // 2  # of one share: all of it comes second
        halves = [call(job, places, shares=part) for part in ((half, job.shares), (0, half)) if job.kernel.split]
        ways = {"": halves or [call(job, places)]}
        ways |= {"_whole": [call(job, places)]} if job.kernel.split else {}
        ways |= {"_down": [call(job, places, down=True)]} if "down" in job.kernel.args else {}
        for way, calls in ways.items():
            head = f"void {job.name}{way}(void *const *at)"
            texts.append(f"{head};\n{head}\n{{\n    {'; '.join(calls)};\n}}\n")
    return "\n".join(texts)


def call(job: Job, places: list[str], down: bool = False, shares: tuple[int | str, int | str] | None = None) -> str:
    """The C call of a job with its operands, result and scratch at these places, rows running up or down.

    shares: the first and the end of those that it does; None: all.
    """
    op, kernel = ops.get(job.node.op), job.choice.kernel
    count, words = len(job.operands), list[str]()
    shares = shares or (0, job.shares)
    for arg in (a for a in kernel.args if a not in kernel.bake):
        if arg == "down":
            words.append(str(int(down)))
        elif arg in ("first", "end"):
            words.append(str(shares[arg == "end"]))
        elif arg == "scratch":
            words.append(places[count + 1])
        elif arg in [o.name for o in op.outputs]:
            words.append(places[count])
        elif arg in [o.name for o in op.inputs]:
            first = [o.name for o in op.inputs].index(arg)
            if first >= count or not job.node.inputs[first]:
                continue  # an optional operand that this case has not
            words += places[first : count if op.inputs[first].variadic else first + 1]
        else:
            value = job.choice.env[arg]
            words.append(c_float(value) if isinstance(value, float) else str(value))
    return f"{job.fn}({', '.join(words)})"


def compare(job: Job, y: Array, note: str) -> None:
    """A result is what the op means."""
    told = f"{job.kernel.name} {dict(job.node.attrs)} {[o.shape for o in job.operands]} {note}"
    if job.exact:
        lines = (np.ascontiguousarray(a[: job.rows]).view(np.uint8) for a in (y, job.expected))
        np.testing.assert_array_equal(*lines, err_msg=told)
    else:
        np.testing.assert_allclose(y, job.expected, rtol=1e-4, atol=2e-6, err_msg=told)


def headers(target: Target) -> str:
    """What comes before the kernels in a brain's C."""
    own = [p for p in (target.find("port.h"), target.find("primitives.h")) if p is not None]
    own += [templates_dir() / name for name in ("fixed.h", "float.h", "lanes.h")]
    return "\n".join(p.read_text(encoding="utf-8") for p in own)


def _cases(op: ops.Op, seed: int) -> Iterator[Case]:
    if op.make_cases is not None:
        yield from op.make_cases(np.random.default_rng(seed))


def _bound(
    table: KernelTable, op: ops.Op, arrays: list[Array | None], given: Mapping[str, Attr], only: Pick
) -> Iterator[Bound]:
    """The case as a node, once for each kernel that accepts it."""
    node, values = one_node(op, arrays, attrs(**given))
    graph = Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),))
    for verdict in table.explain(graph, node):
        if not verdict.failed and only(verdict.kernel):
            pinned = KernelTable(table.target, {node.name: verdict.kernel.name})
            yield node, pinned.choose(graph, node), values


def one_node(op: ops.Op, arrays: list[Array | None], given: Attrs) -> tuple[Node, list[Value]]:
    """A case as a node and the values around it."""
    name, values = op.name, []
    for index, array in enumerate(arrays):
        if array is None:
            continue
        said = op.operand_at(index).dtype
        dtype = DTYPES[said] if said else F16 if array.dtype == np.float16 else of_numpy(array.dtype)
        assert dtype is not None
        value = const_value(f"{name}/{index}", array, dtype)
        role = Role.CONST if op.operand_at(index).constant else Role.INPUT
        values.append(replace(value, role=role))
    known = {v.name: v.type for v in values}
    names = ["" if array is None else f"{name}/{index}" for index, array in enumerate(arrays)]
    ins: list[TensorType | None] = [known.get(n) for n in names]
    outs = [Value(f"{name}/y{i}", t) for i, t in enumerate(op.infer(ins, given))]
    node = Node(name, op.name, tuple(names), tuple(o.name for o in outs), given)
    return node, [*values, *outs]


def _renamed(prefix: str, node: Node, choice: Choice, values: list[Value]) -> Bound:
    """The same under names of its own, so that all jobs fit into one graph."""
    fresh = {"": "", **{v.name: f"{prefix}/{v.name}" for v in values}}
    ins, outs = (tuple(fresh[n] for n in names) for names in (node.inputs, node.outputs))
    renamed = replace(node, name=prefix, inputs=ins, outputs=outs)
    return renamed, choice, [replace(v, name=fresh[v.name]) for v in values]


def _job(viewer: Viewer, node: Node, choice: Choice, overlaps: tuple[Lap, ...]) -> Job:
    op = ops.get(node.op)
    given = [viewer.graph.array(i).copy() if i else None for i in node.inputs]
    constant = tuple(op.operand_at(i).constant for i in range(len(node.inputs)))

    def held(index: int, name: str) -> Array:
        """An operand as the kernel wants it; nothing, where it is left out."""
        if not name:
            return np.zeros(0, np.uint8)
        if constant[index]:
            return viewer.constant(node, choice, op.operand_at(index).name, name).array
        return viewer.graph.array(name)

    operands = tuple(held(i, name) for i, name in enumerate(node.inputs))
    results = op.run([*given, *[None] * (len(op.inputs) - len(given))], node.attrs)
    expected = results[0] if results else given[0]
    assert expected is not None
    states = {i: array for i, array in enumerate(given) if array is not None and op.operand_at(i).mutated}
    return Job(node.name, viewer.function(node, choice), node, choice, operands, constant, expected, overlaps, states)
