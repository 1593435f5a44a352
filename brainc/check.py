"""The proof: the same vectors through the numpy reference, host C under sanitizers, and the target.

Asked by `check`, `run` and `bench`. Exact brains must agree to the byte on every rung; where float ops are
left, outputs are compared with a tolerance. On a difference the trace build says which node differed first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainc import emit, interp, runners, spec, toolchain
from brainc.dtypes import Array
from brainc.ir import Graph
from brainc.memory import EntryPlan
from brainc.program import Program
from brainc.resources import templates_dir
from brainc.runners import Run
from brainc.toolchain import Firmware

TOLERANCE = 1e-4
Vectors = Mapping[str, Array]


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
    return all(n.op.startswith("q") or n.op in spec.MOVES or n.op in spec.DOORS for n in graph.nodes())


def count_of(vectors: Vectors) -> int:
    """How many samples a set of vectors holds."""
    return min((len(a) for a in vectors.values()), default=0)


def reference(graph: Graph, vectors: Vectors) -> list[dict[str, Array]]:
    """Outputs of each sample by the numpy interpreter: the definition."""
    entry = graph.entries[0]
    state = interp.fresh_state(graph)
    results = []
    for index in range(count_of(vectors)):
        inputs = {p: vectors[p][index].reshape(graph.type(p).shape) for p in entry.inputs}
        values = interp.run(graph, entry.name, inputs, state)
        results.append({o: values[o] for o in entry.outputs})
    return results


def to_bytes(graph: Graph, vectors: Vectors) -> bytes:
    """All samples as the harness reads them: input ports in order, one sample after the other."""
    entry = graph.entries[0]
    parts = []
    for index in range(count_of(vectors)):
        for port in entry.inputs:
            dtype = graph.type(port).dtype.numpy.newbyteorder("<")
            parts.append(np.ascontiguousarray(vectors[port][index], dtype=dtype).tobytes())
    return b"".join(parts)


def from_bytes(graph: Graph, data: bytes, samples: int) -> list[dict[str, Array]]:
    """The harness's answer, back as arrays per sample and port."""
    entry, results, at = graph.entries[0], [], 0
    for _ in range(samples):
        result = {}
        for port in entry.outputs:
            type_ = graph.type(port)
            flat = np.frombuffer(data, type_.dtype.numpy.newbyteorder("<"), type_.size, at)
            result[port] = flat.reshape(type_.shape)
            at += type_.nbytes
        results.append(result)
    return results


def firmware(
    program: Program,
    work: Path,
    *,
    trace: str = "",
    empty: bool = False,
    sanitize: bool = False,
    sim: str | None = None,
    optimize: str = "-O2",
    compiler: str | None = None,
) -> Firmware:
    """The brain with its test program, compiled and linked for the target's simulator."""
    bundle = {**emit.emit(program, trace), **emit.emit_harness(program, empty=empty)}
    toolchain.write(work, bundle)
    sources = [work / name for name in bundle if name.endswith((".c", ".S"))]
    return toolchain.build(
        program.target,
        sources,
        [work, templates_dir()],
        work,
        sim=sim,
        optimize=optimize,
        sanitize=sanitize,
        compiler=compiler,
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
    got = from_bytes(program.graph, data, len(want))
    difference = _first_difference(program.graph, want, got)
    if difference is not None:
        sample = difference[0]
        node = _first_wrong_node(program, {p: a[sample : sample + 1] for p, a in vectors.items()})
        return Rung(name, len(want), f"sample {sample}, {difference[1]}; {node}")
    return Rung(name, len(want), None)


def _first_difference(
    graph: Graph, want: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]]
) -> tuple[int, str] | None:
    exact = is_exact(graph)
    for index, (a, b) in enumerate(zip(want, got, strict=True)):
        for port in a:
            text = _compare(a[port], b[port], exact)
            if text:
                return index, f"port {port}{text}"
    return None


def _compare(want: Array, got: Array, exact: bool) -> str:
    """Empty if equal, else the first element that is not: `[3]: want 5, got 6`."""
    if exact or want.dtype.kind != "f":
        wrong = want.reshape(-1).view(np.uint8) != got.reshape(-1).view(np.uint8)
        wrong = wrong.reshape(want.size, -1).any(axis=1)
    else:
        finite = np.isfinite(want)
        scale = np.abs(want).max(initial=1e-3, where=finite)
        same = (want == got) | (np.isnan(want) & np.isnan(got))
        with np.errstate(invalid="ignore"):
            wrong = ~(same | (finite & (np.abs(want - got) <= TOLERANCE * scale))).reshape(-1)
    if not wrong.any():
        return ""
    first = int(np.argmax(wrong))
    return f"[{first}]: want {want.reshape(-1)[first]}, got {got.reshape(-1)[first]}"


def _first_wrong_node(program: Program, vectors: Vectors) -> str:
    """Runs one sample in the dump build and names the first node whose output is not the reference's."""
    graph, entry, plan = program.graph, program.graph.entries[0], program.plan.entries[0]
    inputs = {p: vectors[p][0].reshape(graph.type(p).shape) for p in entry.inputs}
    values = interp.run(graph, entry.name, inputs)
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        built = firmware(program, Path(folder), trace="dump")
        data = runners.run(built, to_bytes(graph, vectors), 1, work=Path(folder)).outputs
    for node, name, got in _dumped(graph, plan, data):
        text = _compare(values[name], got, is_exact(graph))
        if text:
            kernel = program.choices[node].kernel.name
            return f"first at node {node} ({kernel}), {name}{text}"
    return "every node alone agrees (a value is overwritten too early, or the ports differ)"


def _dumped(graph: Graph, plan: EntryPlan, data: bytes) -> Iterator[tuple[str, str, Array]]:
    at = 0
    for node in plan.nodes:
        for name in node.outputs:
            type_ = graph.type(name)
            flat = np.frombuffer(data, type_.dtype.numpy.newbyteorder("<"), type_.size, at)
            yield node.name, name, flat.reshape(type_.shape)
            at += type_.nbytes
