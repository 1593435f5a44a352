"""The proof: the same vectors through the numpy reference, host C under sanitizers, and the target.

Asked by `check`, `run` and `bench`. Exact brains must agree to the byte on every rung; where float ops are
left, outputs are compared with a tolerance. On a difference the trace build says which node differed first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainc import emit, interp, ops, runners, spec, toolchain
from brainc.dtypes import Array
from brainc.ir import Graph, Node
from brainc.program import Program
from brainc.project import Golden
from brainc.runners import Run
from brainc.toolchain import Firmware

TOLERANCE = 1e-4
Vectors = Mapping[str, Array]
Difference = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: `first_difference` is None where all bytes agree."""

    name: str
    samples: int
    first_difference: str | None

    @property
    def equal(self) -> bool:
        return self.first_difference is None


def is_exact(graph: Graph) -> bool:
    """Whether every op is an exact one, so that all machines must give the same bytes."""
    exact = spec.MOVES | spec.PICKS | spec.DOORS
    return all(ops.get(n.op).exact or n.op in exact or _whole(graph, n) for n in graph.nodes())


def _whole(graph: Graph, node: Node) -> bool:
    """Whether a node turns integers into integers, as a cast of an index does."""
    return all(graph.type(name).dtype.is_integer for name in (*node.operands, *node.outputs))


def count_of(vectors: Vectors) -> int:
    """How many samples a set of vectors holds."""
    return min((len(a) for a in vectors.values()), default=0)


def reference(graph: Graph, vectors: Vectors) -> list[dict[str, Array]]:
    """Outputs of each sample by the numpy interpreter: the definition."""
    outputs = graph.entries[0].outputs
    return [{port: values[port] for port in outputs} for values in _runs(graph, vectors)]


def golden(graph: Graph, vectors: Vectors) -> Golden:
    """The first sample and its outputs: a test that a board can make by itself."""
    first = {port: array[:1] for port, array in vectors.items()}
    values = {port: array[0] for port, array in first.items()} | reference(graph, first)[0]
    arrays = {port: np.asarray(a, graph.type(port).dtype.numpy.newbyteorder("<")) for port, a in values.items()}
    loose = {} if is_exact(graph) else {p: a for p, a in arrays.items() if a.dtype.kind == "f"}
    return Golden({p: a.tobytes() for p, a in arrays.items()}, {p: TOLERANCE * _scale(a) for p, a in loose.items()})


def _runs(graph: Graph, vectors: Vectors) -> Iterator[dict[str, Array]]:
    """Every value of each sample's run; states go on from one to the next, as in a firmware."""
    entry, state = graph.entries[0], interp.fresh_state(graph)
    for index in range(count_of(vectors)):
        inputs = {p: vectors[p][index].reshape(graph.type(p).shape) for p in entry.inputs}
        yield interp.run(graph, entry.name, inputs, state)


def to_bytes(graph: Graph, vectors: Vectors) -> bytes:
    """All samples as the harness reads them: input ports in order, one sample after the other."""
    entry = graph.entries[0]
    types = {port: graph.type(port).dtype.numpy.newbyteorder("<") for port in entry.inputs}
    rows = range(count_of(vectors))
    return b"".join(np.asarray(vectors[p][i], dtype=dtype).tobytes() for i in rows for p, dtype in types.items())


def from_bytes(graph: Graph, data: bytes, samples: int) -> list[dict[str, Array]]:
    """The harness's answer, back as arrays per sample and port."""
    ports = graph.entries[0].outputs
    arrays = _arrays(graph, [*ports] * samples, data)
    return [dict(zip(ports, arrays, strict=False)) for _ in range(samples)]


def _arrays(graph: Graph, names: Iterable[str], data: bytes) -> Iterator[Array]:
    """The values of these names, as they lie one after the other in `data`."""
    at = 0
    for type_ in map(graph.type, names):
        dtype = type_.dtype.numpy.newbyteorder("<")
        yield np.frombuffer(data, dtype, type_.size, at).reshape(type_.shape)
        at += type_.nbytes


def firmware(
    program: Program,
    work: Path,
    *,
    trace: str = "",
    empty: bool = False,
    roomy: bool = False,
    sanitize: bool = False,
    sim: str | None = None,
    optimize: str | None = None,
    compiler: str | None = None,
) -> Firmware:
    """The brain with its test program, compiled and linked for the target's simulator."""
    bundle = {**emit.emit(program, trace), **emit.emit_harness(program, empty=empty)}
    toolchain.write(work, bundle)
    sources, target = [work / name for name in bundle if name.endswith((".c", ".S"))], program.target
    return toolchain.build(
        target, sources, [work], work, sim=sim, optimize=optimize, sanitize=sanitize, roomy=roomy, compiler=compiler
    )


def execute(program: Program, vectors: Vectors, *, sanitize: bool = False, sim: str | None = None) -> Run:
    """Runs the samples on the target (or its simulator)."""
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        built = firmware(program, Path(folder), sanitize=sanitize, sim=sim)
        return runners.run(built, to_bytes(program.graph, vectors), count_of(vectors), work=Path(folder))


def prove(program: Program, vectors: Vectors, *, sanitize: bool = False) -> Rung:
    """One rung: the program on its target against the reference of the same graph."""
    name = f"{program.target.name}{' with sanitizers' if sanitize else ''}"
    want = reference(program.graph, vectors)
    data = execute(program, vectors, sanitize=sanitize).outputs
    wrong = differs(program.graph, want, from_bytes(program.graph, data, len(want)))
    if wrong is None:
        return Rung(name, len(want), None)
    index, text = wrong
    node = _first_wrong_node(program, {p: v[: index + 1] for p, v in vectors.items()})
    return Rung(name, len(want), f"sample {index}, {text}; {node}")


def differs(graph: Graph, want: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]]) -> Difference | None:
    """The first sample whose outputs are not those wanted, and where in them; None if all agree."""
    exact = is_exact(graph)
    for index, (a, b) in enumerate(zip(want, got, strict=True)):
        for port in a:
            if text := _compare(a[port], b[port], exact):
                return index, f"port {port}{text}"
    return None


def _compare(want: Array, got: Array, exact: bool) -> str:
    """Empty if equal, else the first element that is not: `[3]: want 5, got 6`."""
    if exact or want.dtype.kind != "f":
        wrong = want.reshape(-1).view(np.uint8) != got.reshape(-1).view(np.uint8)
        wrong = wrong.reshape(want.size, -1).any(axis=1)
    else:
        finite, scale = np.isfinite(want), _scale(want)
        same = (want == got) | (np.isnan(want) & np.isnan(got))
        with np.errstate(invalid="ignore"):
            wrong = ~(same | (finite & (np.abs(want - got) <= TOLERANCE * scale))).reshape(-1)
    if not wrong.any():
        return ""
    first = int(np.argmax(wrong))
    return f"[{first}]: want {want.reshape(-1)[first]}, got {got.reshape(-1)[first]}"


def _scale(want: Array) -> float:
    """What a tolerance for these floats is a part of."""
    return float(np.abs(want).max(initial=1e-3, where=np.isfinite(want)))


def _first_wrong_node(program: Program, vectors: Vectors) -> str:
    """The first node whose output for the last of these samples is not the reference's, by the dump build."""
    graph, exact, count = program.graph, is_exact(program.graph), count_of(vectors)
    values = list(_runs(graph, vectors))[-1]
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        built = firmware(program, Path(folder), trace="dump")
        data = runners.run(built, to_bytes(graph, vectors), count, work=Path(folder)).outputs
    at = len(data) // count * (count - 1)
    for node, name, row, rows in _dumped(program):
        want = values[name].reshape(rows, -1)[row]
        got = np.frombuffer(data, want.dtype.newbyteorder("<"), want.size, at)
        at += want.nbytes
        made = _worked_out(graph, node, name, values)
        if text := _compare(want[:made], got[:made], exact):
            line = f" row {row}" if rows > 1 else ""
            return f"first at node {node.name} ({program.choices[node.name].kernel.name}), {name}{line}{text}"
    return "every node alone agrees (a value is overwritten too early, or the ports differ)"


def _worked_out(graph: Graph, node: Node, name: str, values: Mapping[str, Array]) -> int | None:
    """How many numbers of a result its node computes, where an operand `n` counts the rows; None: all."""
    op, shape = ops.get(node.op), graph.type(name).shape
    for index, counter in enumerate(node.inputs):
        if counter and op.operand_at(index).name == "n":
            count = values[counter] if counter in values else graph.array(counter)
            return int(count[0]) * int(np.prod(shape[1:]))
    return None


def _dumped(program: Program) -> Iterator[tuple[Node, str, int, int]]:
    """(node, value, which row, of how many) of all that a dump build writes, in its order; a whole value is one row."""
    plan = program.plan.entries[0]
    for step, nodes in plan.step_nodes():
        if step not in plan.chains:
            yield from ((node, name, 0, 1) for node in nodes for name in node.outputs)
            continue
        for run, number in plan.chains[step].rows():
            if run.whole:
                yield run.node, run.row.outputs[0], number, run.beat.count
