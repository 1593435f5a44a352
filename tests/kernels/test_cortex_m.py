"""The kernels of the Cortex-M targets, each in its simulator, on the sample cases of its op and on odd sizes.

Proves, core by core, that the result is the op's numpy meaning to the bit, that nothing but the result and
the scratch is written, and that the result may lie as close over its operand as the head says; and that they
earn their place: half the instructions of the portable kernels, or fewer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_rig import Bound, Job, Lap, Rig, call, jobs_of, one_node, rig_of

from brainc import ops, samples, toolchain
from brainc.check import firmware, to_bytes
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.dtypes import Array
from brainc.errors import ToolMissing
from brainc.ir import Attr, Entry, Graph, attrs
from brainc.kernels import Kernel, KernelTable, shown
from brainc.ops._samples import int8_layer
from brainc.runners import run
from brainc.target import load_target
from brainc.weights import as_text

pytestmark = pytest.mark.sim

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
PRIMITIVES = ("c/qconv2d/i8", "c/qdense/i8", "c/qmean/i8")  # portable kernels over each port's own functions
CANARY, ROOM = 0xA5, 16
Given = dict[str, Attr]


def _is_ours(kernel: Kernel) -> bool:
    return not kernel.name.startswith("c/") or kernel.name in PRIMITIVES


def _odd_cases(rng: np.random.Generator) -> Iterator[tuple[str, list[Array], Given]]:
    """Sizes that leave a rest of every kind, and every shift, with sums and factors of all magnitudes."""
    for name, operands, given in _odd_filters(rng):
        yield name, operands, given
        yield name, operands, {**given, "round": "tflite"}
        yield name, [*operands[:4], np.maximum(operands[4], 36)], {**given, "round": "tflite"}
    for name, operands, given in _typical_filters(rng):
        yield name, operands, given
        yield name, operands, {**given, "round": "tflite"}
    for elements in (1, 3, 6, 17):
        a, b = (_int8(rng, (elements,)) for _ in range(2))
        scaled: Given = {"za": -128, "zb": 5, "ma": 1 << 20, "mb": -77777, "shift": 19, "zy": -9}
        yield "qadd", [a, b], {**scaled, "lo": -50, "hi": 99}


def _odd_filters(rng: np.random.Generator) -> Iterator[tuple[str, list[Array], Given]]:
    few = ((1, 19, 6), (2, 4, 2), (3, 17, 7), (4, 48, 9), (5, 33, 3), (7, 1, 5), (2, 63, 4))
    for m, k, n in (*few, (4, 170, 6), (5, 150, 8), (37, 5, 6), (70, 16, 8), (33, 12, 3)):
        yield "qdense", _filtered(rng, (m, k), (n, k), n), {"zy": 3, "lo": -128, "hi": 127}
    for size, kernel, n, c in ((4, 3, 7, 5), (5, 3, 4, 16), (3, 1, 2, 9), (6, 2, 9, 11), (5, 3, 5, 32)):
        x, w = (1, size, size - 1, c), (n, kernel, kernel, c)
        yield "qconv2d", _filtered(rng, x, w, n), {"pads": (1, 0, 0, 1), "zx": -7, "zy": -128}
    for c in (4, 8, 12, 24, 40, 133):
        window: Given = {"pads": (1, 1, 1, 0), "strides": (1, 2), "zx": 9, "zy": 0}
        yield "qdwconv2d", _filtered(rng, (2, 6, 5, c), (3, 2, c), c), window


def _typical_filters(rng: np.random.Generator) -> Iterator[tuple[str, list[Array], Given]]:
    """Layers with the weights and scales that quantisers make, which tiles ask for, in sizes that leave every rest."""

    def layer(x: tuple[int, ...], w: tuple[int, ...], channels: int, scales: int) -> list[Array]:
        return [a for a in int8_layer(rng, x, w, channels, scales) if a is not None]

    for m, k, n in (
        (1, 8, 6),
        (1, 12, 10),
        (1, 64, 7),
        (1, 7, 3),
        (2, 5, 3),
        (3, 64, 8),
        (4, 9, 5),
        (7, 36, 2),
        (8, 30, 1),
    ):
        for scales in (n, 1):
            yield "qdense", layer((m, k), (n, k), n, scales), {"zy": -5, "lo": -100, "hi": 127}
    for c, f, kernel, strides in ((1, 4, 3, 2), (3, 7, 3, 2), (4, 5, 2, 1), (6, 3, 3, 1), (16, 6, 3, 1), (8, 9, 1, 2)):
        window: Given = {"pads": (1, 0, 1, 1) if kernel > 1 else (0, 0, 0, 0), "strides": (strides, strides)}
        yield "qconv2d", layer((1, 7, 5, c), (f, kernel, kernel, c), f, f), {**window, "zx": 3, "zy": -128}
    for c, h, w, kh, kw in (
        (5, 6, 5, 3, 3),
        (6, 4, 7, 3, 3),
        (7, 9, 1, 5, 1),
        (12, 3, 3, 3, 3),
        (9, 2, 2, 3, 3),
        (4, 6, 6, 2, 4),
    ):
        for strides in ((1, 1), (2, 2)):
            window = {"pads": (kh // 2, kw // 2, kh // 2, kw // 2), "strides": strides, "zx": 11, "zy": 4, "hi": 90}
            yield "qdwconv2d", layer((1, h, w, c), (kh, kw, c), c, c), window
    for h, w, c, strides, pads in (
        *((7, 4, 5, (1, 1), (0, 0, 0, 0)), (6, 9, 3, (2, 1), (1, 1, 1, 1)), (5, 8, 6, (1, 2), (1, 0, 1, 1))),
        *((4, 2, 1, (1, 1), (2, 1, 0, 2)), (9, 7, 4, (2, 2), (0, 0, 1, 1)), (3, 6, 8, (3, 1), (1, 2, 1, 2))),
    ):
        yield "qdwconv2d", layer((1, h, w, c), (3, 3, c), c, c), {"strides": strides, "pads": pads, "zx": -128, "zy": 7}


def _filtered(rng: np.random.Generator, x: tuple[int, ...], w: tuple[int, ...], channels: int) -> list[Array]:
    """Operands of a filtering op: biases up to 2^30, shifts 1 to 62, factors from 0 up."""
    bias = (rng.integers(-(1 << 30), 1 << 30, channels) >> rng.integers(0, 24, channels)).astype(np.int32)
    mult = (rng.integers(0, 1 << 31, channels) >> rng.integers(0, 31, channels)).astype(np.int32)
    shift = rng.integers(1, 63, channels)
    shift[1::2] = rng.integers(30, 46, shift[1::2].size)
    mult[1::2] |= 1 << 30
    return [_int8(rng, x), _int8(rng, w), bias, mult, shift.astype(np.int8)]


def _int8(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(-128, 128, shape).astype(np.int8)


def _bound(table: KernelTable, name: str, arrays: list[Array], given: Given) -> Iterator[Bound]:
    """The case as a node, once for each kernel of ours that accepts it."""
    node, values = one_node(ops.get(name), list(arrays), attrs(**given))
    graph = Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),))
    for verdict in table.explain(graph, node):
        if not verdict.failed and _is_ours(verdict.kernel):
            pinned = KernelTable(table.target, {node.name: verdict.kernel.name}, optimize=table.optimize)
            yield node, pinned.choose(graph, node), values


def _rigs(core: str) -> Iterator[Rig]:
    """The sample cases; odd ones; and those odd ones whose kernels bake something else in where RAM matters most."""
    target = load_target(core)
    yield jobs_of(target, only=_is_ours)
    fast, frugal = (
        [b for case in _odd_cases(np.random.default_rng(7)) for b in _bound(KernelTable(target, optimize=o), *case)]
        for o in ("speed", "ram")
    )
    yield rig_of(KernelTable(target), fast)
    pairs = zip(fast, frugal, strict=True)
    other = [b for a, b in pairs if shown(a[1].kernel, a[1].env) != shown(b[1].kernel, b[1].env)]
    if other:
        yield rig_of(KernelTable(target, optimize="ram"), other)


def _tiled(rig: Rig) -> Rig:
    """The jobs whose kernels have assembly, of which there is a twin in plain C; all where primitives have."""
    if "BR_PLAIN_C" in rig.head:
        return rig
    tiled = {name for name, text in rig.functions.items() if "BR_PLAIN_C" in text}
    tiled |= {name for name, text in rig.functions.items() if any(part in text for part in tiled)}
    return replace(rig, jobs=tuple(job for job in rig.jobs if job.fn in tiled))


class Trial:
    """One run of a job: where its operands, result and scratch lie in memory, and what is there before."""

    def __init__(self, job: Job, overlap: Lap | None = None) -> None:
        self.job, self.overlap = job, overlap
        self.at: list[int | None] = []
        self.end = ROOM
        reach = abs(overlap.gap) if overlap else 0
        for index, operand in enumerate(job.operands):
            around = reach if overlap and overlap.operand == index else 0
            nbytes = operand.nbytes + 2 * around
            self.at.append(None if job.constant[index] else self._take(nbytes, around))
        over = self.at[overlap.operand] if overlap else None
        self.y = over - overlap.gap if overlap and over is not None else self._take(job.expected.nbytes)
        self.end = max(self.end, self._round(self.y + job.expected.nbytes))
        self.scratch = self._take(job.choice.scratch)
        self.before = np.full(self.end, CANARY, np.uint8)
        for place, operand in zip(self.at, job.operands, strict=True):
            if place is not None:
                self.before[place : place + operand.nbytes] = np.frombuffer(operand.tobytes(), np.uint8)

    def _take(self, nbytes: int, ahead: int = 0) -> int:
        start = self._round(self.end + ahead - ROOM) if ahead else self.end
        self.end = self._round(start + nbytes)
        return start

    @staticmethod
    def _round(end: int) -> int:
        """The next place that is free behind `end`, with room for canaries."""
        return -(-end // ROOM) * ROOM + ROOM

    def steps(self) -> str:
        """C that lays out memory, runs the job and writes all of it out."""
        loads = [f"    memset(ram, {CANARY}, {self.end});"]
        places = []
        for index, place in enumerate(self.at):
            name = f"{self.job.name}_{index}"
            if place is not None:
                loads.append(f"    memcpy(ram + {place}, {name}, {self.job.operands[index].nbytes});")
            places.append(f"BR_CREF({name})" if place is None else f"(void *)(ram + {place})")
        places += [f"(void *)(ram + {self.y})", f"ram + {self.scratch}"]
        return "\n".join(
            [
                *loads,
                f"    {call(self.job, places, self.overlap is not None and self.overlap.down)};",
                f"    br_host_write(ram, {self.end});",
            ]
        )

    def judge(self, after: np.ndarray) -> None:
        """Fails unless the result is right and nothing else has changed."""
        job, nbytes = self.job, self.job.expected.nbytes
        shapes = [o.shape for o in job.operands]
        told = f"{job.kernel.name} {dict(job.node.attrs)} {shapes} overlap {self.overlap}"
        y = after[self.y : self.y + nbytes].view(job.expected.dtype).reshape(job.expected.shape)
        np.testing.assert_array_equal(y, job.expected, err_msg=told)
        own = np.zeros(self.end, bool)
        own[self.y : self.y + nbytes] = own[self.scratch : self.scratch + job.choice.scratch] = True
        strayed = np.flatnonzero((after != self.before) & ~own)
        assert strayed.size == 0, f"{told} wrote outside its result, at {strayed[:8] - self.y}"


def _trials(rig: Rig) -> list[Trial]:
    """Each job with everything apart, then with the result as close as allowed, and a little further."""
    found = [Trial(job) for job in rig.jobs]
    for job in rig.jobs:
        for lap in job.overlaps:
            found += [Trial(job, lap.farther(more)) for more in (0, 3)]
    return found


def _source(rig: Rig, trials: list[Trial]) -> str:
    data = []
    for job in rig.jobs:
        for index, operand in enumerate(job.operands):
            if not job.takes(index):
                continue
            kind = f"int{operand.itemsize * 8}_t"
            rows = "\n".join(as_text(operand))
            data.append(f"BR_CONST({kind}, {job.name}_{index}, {operand.size}) = {{\n{rows}\n}};")
    functions = [f"static void trial_{i}(void)\n{{\n{trial.steps()}\n}}" for i, trial in enumerate(trials)]
    calls = [f"    trial_{i}();" for i in range(len(trials))]
    return "\n".join(
        [
            '#include "harness.h"',
            rig.source,
            *data,
            f"static uint8_t ram[{max(t.end for t in trials)}] __attribute__((aligned({ROOM})));",
            *functions,
            "int main(void)\n{\n    uint8_t go;\n    br_host_open();\n    (void)br_host_read(&go, 1);",
            "    br_host_begin();\n    br_host_end();",
            *calls,
            "    br_host_close();\n    return 0;\n}\n",
        ]
    )


@pytest.mark.parametrize("plain", [False, True], ids=["tiles", "plain"])
@pytest.mark.parametrize("core", CORES)
def test_kernels_mean_what_their_ops_mean(core: str, plain: bool, tmp_path: Path) -> None:
    for rig in _rigs(core):
        if plain and not (rig := _tiled(rig)).jobs:
            continue
        trials = _trials(rig)
        (tmp_path / "trials.c").write_text("#define BR_PLAIN_C\n" * plain + _source(rig, trials))
        try:
            image = toolchain.build(rig.target, [tmp_path / "trials.c"], [], tmp_path, optimize="-O2")
            memory = np.frombuffer(run(image, b"!", 1).outputs, np.uint8)
        except ToolMissing as missing:
            pytest.skip(str(missing))
        for trial in trials:
            trial.judge(memory[: trial.end])
            memory = memory[trial.end :]
        assert memory.size == 0


@pytest.mark.parametrize(
    ("core", "least"), [("cortex-m0plus", 2.0), ("cortex-m3", 2.0), ("cortex-m4", 2.0), ("cortex-m55", 2.0)]
)
def test_kernels_earn_their_place(core: str, least: float, models: Path) -> None:
    """Instructions of the keyword spotter with the portable kernels over the port, against the core's own."""
    model = models / "mlperf-tiny" / "onnx" / "kws_dscnn_int8.onnx"
    if not model.is_file():
        pytest.skip(f"{model.name} is not among the models")
    counts = []
    for portable in (True, False):
        program = compile_job(prepare(Request(model, portable=portable), core))
        vectors = samples.random(ports(program.graph), 1, 1).arrays
        with tempfile.TemporaryDirectory() as folder:
            try:
                image = firmware(program, Path(folder))
                told = run(image, to_bytes(program.graph, vectors), 1, count=True, work=Path(folder))
            except ToolMissing as missing:
                pytest.skip(str(missing))
        assert told.instructions is not None
        counts.append(told.instructions[0])
    assert counts[0] >= least * counts[1], f"portable {counts[0]:,}, own {counts[1]:,}"
