"""Every plan, replayed on the emitted C: what a step reads is still there when it reads it. And the checker can fail.

The proof that it is strict enough: brains with values moved about in the text are compiled and run on this machine;
whatever the replay lets pass gives the right answer.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import Builder, random_network
from machines import machines
from planted import planted_network
from replay import replay

from brainc import interp
from brainc.compiler import Job, Request, compile_job, prepare
from brainc.dtypes import I8, Array
from brainc.emit import emit
from brainc.ir import Graph, Node, Role, Value
from brainc.program import Program
from brainc.resources import examples_dir

NETWORKS = ("ad01_int8", "ad01_int8_floatio", "ic_resnet8_int8", "kws_dscnn_int8", "vww_mobilenetv1_025_int8")
TINY = (*(f"mlperf-tiny/{name}" for name in NETWORKS), "pypi/pymicro-wakeword/okay_nabu")
FOLDERS = ("mlperf-tiny/*int8.tflite", "mlperf-tiny/extra/*int8.tflite", "pypi/pymicro-wakeword/*.tflite")
MACHINES = [t.name for t in machines()]
OPTIMIZE = ("speed", "ram", "flash")


def complaints(program: Program) -> list[str]:
    files = emit(program)
    return replay(files[f"{program.name}.c"].decode(), files[f"{program.name}.h"].decode(), program)


def job_for(graph: Graph, target: str, optimize: str = "speed") -> Job:
    """A graph in the place of a model that was read."""
    request = Request(examples_dir() / "digits" / "digits.onnx", quantize="none", optimize=optimize)
    return replace(prepare(request, target), graph=graph)


@pytest.mark.parametrize("optimize", ["speed", *(pytest.param(o, marks=pytest.mark.slow) for o in ("ram", "flash"))])
@pytest.mark.parametrize("target", MACHINES)
@pytest.mark.parametrize("name", ["digits", "sorter"])
def test_examples(name: str, target: str, optimize: str) -> None:
    request = Request(examples_dir() / name, quantize="int8", io="int8", optimize=optimize)
    assert complaints(compile_job(prepare(request, target))) == []


@pytest.mark.parametrize("name", TINY)
def test_tiny_models(name: str, models: Path) -> None:
    file = models / f"{name}.tflite"
    if not file.is_file():
        pytest.skip(f"{name} is not among the models")
    for target in ("c99", "cortex-m0plus", "cortex-m4"):
        assert complaints(compile_job(prepare(Request(file), target))) == [], target


@pytest.mark.slow
@pytest.mark.parametrize("optimize", OPTIMIZE)
@pytest.mark.parametrize("target", MACHINES)
def test_all_models_everywhere(target: str, optimize: str, models: Path) -> None:
    files = [file for pattern in FOLDERS for file in sorted(models.glob(pattern))]
    for file in files:
        assert complaints(compile_job(prepare(Request(file, optimize=optimize), target))) == [], file.stem


@pytest.mark.parametrize("seed", [*range(30), *(pytest.param(s, marks=pytest.mark.slow) for s in range(30, 200))])
def test_random_integer_networks(seed: int) -> None:
    graph, _ = planted_network(seed)
    target, optimize = MACHINES[seed % len(MACHINES)], OPTIMIZE[seed // len(MACHINES) % 3]
    assert complaints(compile_job(job_for(graph, target, optimize))) == [], target


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(s, marks=pytest.mark.slow) for s in range(10, 100))])
def test_random_float_networks(seed: int) -> None:
    graph = random_network(seed, channels_first=seed % 2 > 0)
    assert complaints(compile_job(job_for(graph, "c99"))) == []


# ---- the checker can fail ------------------------------------------------------------------------------------------


def layers(seed: int) -> Graph:
    """Layers that keep, grow and shrink their pictures, a sum, a table, a pool, a view, dense rows: all laps."""
    b = Builder(seed)
    rng = b.rng

    def scaled(op: str, x: str, w: Array, count: int, **given: object) -> str:
        shift = np.full(count, 31 + round(np.log2(60 * np.sqrt(w.size / count))), np.int8)
        mult = rng.integers(1 << 30, (1 << 31) - 1, count).astype(np.int32)
        arrays = (w, rng.integers(-2000, 2000, count).astype(np.int32), mult, shift)
        return b.add(op, x, *map(b.const, arrays), zy=-20, **given)  # type: ignore[arg-type]

    def weights(*shape: int) -> Array:
        return rng.integers(-128, 128, shape).astype(np.int8)

    x = b.input("x", (1, 12, 10, 3), I8)
    x = scaled("qconv2d", x, weights(8, 3, 3, 3), 8, zx=5, pads=(1,) * 4)
    x = scaled("qdwconv2d", x, weights(3, 3, 8), 8, zx=-20, pads=(1,) * 4)
    y = scaled("qdwconv2d", x, weights(3, 3, 8), 8, zx=-20, pads=(1,) * 4)
    x = b.add("qadd", x, y, za=-20, zb=-20, ma=1 << 19, mb=1 << 19, shift=20, zy=3)
    x = b.add("qlut", x, b.const(rng.permutation(np.arange(-128, 128)).astype(np.int8)))
    x = scaled("qconv2d", x, weights(12, 1, 1, 8), 12, zx=0)
    x = b.add("maxpool2d", x, kernel=(2, 2), strides=(2, 2))
    x = b.add("slice", x, starts=(0, 1, 0, 0), sizes=(1, 5, 5, 12), steps=(1,) * 4)
    x = scaled("qdwconv2d", x, weights(3, 3, 12), 12, zx=-20, pads=(1,) * 4)
    x = b.add("reshape", x, shape=(25, 12))
    x = scaled("qdense", x, weights(8, 12), 8)
    return b.graph(x)


def moved(program: Program) -> Iterator[tuple[str, Program]]:
    """The same brain with one value (and its views), or one scratch, elsewhere, or one step run the other way."""
    (plan,) = program.plan.entries
    least = min(program.target.word // 8, 4)
    shifts = [n * least for n in (-64, -33, -9, -4, -2, -1, 1, 2, 5, 8, 40, 90)]
    for name, slot in plan.slots.items():
        alike = [
            n for n, s in plan.slots.items() if (s.offset, s.first, s.last) == (slot.offset, slot.first, slot.last)
        ]
        for by in (by for by in shifts if slot.offset + by >= 0 and alike[0] == name):
            slots = {**plan.slots, **{n: replace(plan.slots[n], offset=slot.offset + by) for n in alike}}
            yield f"{name} {by:+}", with_plan(program, slots=slots)
    for name, slot in plan.scratch.items():
        for by in (by for by in shifts if slot.offset + by >= 0):
            scratch = {**plan.scratch, name: replace(slot, offset=slot.offset + by)}
            yield f"scratch of {name} {by:+}", with_plan(program, scratch=scratch)
    for node in plan.nodes:
        if "down" in program.choices[node.name].kernel.args:
            yield f"{node.name} turned round", with_plan(program, down=plan.down ^ {node.name})


def with_plan(program: Program, **changes: object) -> Program:
    (plan,) = program.plan.entries
    entry = replace(plan, **changes)  # type: ignore[arg-type]
    return replace(program, plan=replace(program.plan, entries=(entry,)))


def step_of(c: str, number: int) -> str:
    """The text of a brain's only entry, under a name of its own."""
    begin = c.index("void test_step(")
    return c[begin : c.index("\n}\n", begin) + 3].replace("test_step", f"test_step_{number}", 1)


def run_all(program: Program, texts: list[str], cc) -> list[bool]:  # type: ignore[no-untyped-def]
    """For each variant of the entry, whether it gives the reference's bytes on two inputs."""
    files = emit(program)
    c = files["test.c"].decode().replace('#include "test.h"', files["test.h"].decode())
    steps = [f"void test_step_{n}(test_t *, const int8_t *, int8_t *);\n{text}" for n, text in enumerate(texts)]
    library = cc("\n".join([c, *steps]), "-O1", "-Wno-vla-parameter", "-Wno-array-parameter")
    (port,), (out,) = program.graph.entries[0].inputs, program.graph.entries[0].outputs
    right = [True] * len(texts)
    for seed in range(2):
        inputs = interp.random_inputs(program.graph, None, seed)
        wanted = interp.outputs(program.graph, None, inputs)[out]
        for number in range(len(texts)):
            room = np.full(4 * program.plan.nbytes, 0x5A, np.uint8)
            room = room[-room.ctypes.data % 8 :]
            x, y = np.ascontiguousarray(inputs[port]), np.empty_like(wanted)
            pointers = (ctypes.c_void_p(a.ctypes.data) for a in (room, x, y))
            getattr(library, f"test_step_{number}")(*pointers)
            right[number] = right[number] and np.array_equal(y, wanted)
    return right


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_what_passes_gives_the_right_bytes(seed: int, cc) -> None:  # type: ignore[no-untyped-def]
    program = compile_job(job_for(layers(seed), "c99"))
    assert complaints(program) == []
    variants = list(moved(program))
    passed = [not complaints(variant) for _, variant in variants]
    texts = [step_of(emit(variant)["test.c"].decode(), n) for n, (_, variant) in enumerate(variants)]
    right = run_all(program, texts, cc)
    missed = [name for (name, _), ok, good in zip(variants, passed, right, strict=True) if ok and not good]
    assert missed == []
    turned = [ok for (name, _), ok in zip(variants, passed, strict=True) if "turned round" in name]
    assert False in turned and sum(right) > sum(passed) > 20


def remembering() -> Graph:
    """Each call adds to what is kept: a state is read, then assigned."""
    b = Builder(1)
    x = b.input("x", (1, 16), I8)
    b.values["kept"] = Value("kept", b.values[x].type, Role.STATE)
    y = b.add("qadd", x, "kept", za=0, zb=0, zy=0, ma=1 << 19, mb=1 << 19, shift=20)
    b.nodes.append(Node("keep", "assign", ("kept", y), ()))
    return b.graph(b.add("qlut", y, b.const(np.arange(-128, 128).astype(np.int8))))


@pytest.mark.parametrize("graph", [layers(3), remembering()], ids=["layers", "state"])
@pytest.mark.parametrize("target", ["c99", "cortex-m4"])
def test_no_place_may_be_written_wrong(graph: Graph, target: str) -> None:
    """Each place in the entry's text, moved by one element, and each number of bytes copied."""
    program = compile_job(job_for(graph, target))
    files = emit(program)
    c, h = files["test.c"].decode(), files["test.h"].decode()
    begin = c.index("void test_step(")
    places = [m for m in re.finditer(r"AT\(\w+, (\d+)\)|memcpy\(m \+ (\d+)|, (\d+)\);\n    }", c) if m.start() > begin]
    places = [m for m in places if m.start() < c.index("\n}\n", begin)]
    assert replay(c, h, program) == [] and len(places) > 8
    for place in places:
        at = next(n for n in range(1, 4) if place[n])
        text = c[: place.start(at)] + str(int(place[at]) + 4) + c[place.end(at) :]
        assert replay(text, h, program), place[0]


def test_a_brain_that_is_declared_too_small_is_caught() -> None:
    program = compile_job(job_for(layers(3), "c99"))
    files = emit(program)
    c, h = files["test.c"].decode(), files["test.h"].decode()
    ram = program.plan.nbytes
    assert replay(c, h.replace(f"RAM_BYTES {ram}", f"RAM_BYTES {ram - 4}"), program)
