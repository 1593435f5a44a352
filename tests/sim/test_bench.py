"""What `bench` tells of a machine: every layer, its classes, and the cycles of whoever knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brainc import bench, check, runners, samples, toolchain
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.program import Program
from brainc.resources import examples_dir

pytestmark = pytest.mark.sim


def digits(core: str) -> tuple[Program, check.Vectors]:
    """The example in int8, with some of its held-out digits."""
    missing = [t.name for t in toolchain.doctor() if core in t.targets and t.path is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    folder = examples_dir() / "digits"
    program = compile_job(prepare(Request(folder, quantize="int8", io="int8"), core))
    loaded = samples.load(folder / "test.npz", ports(program.graph)).arrays
    return program, {port: array[:5] for port, array in loaded.items()}


def measured(core: str, **given: Any) -> tuple[bench.Figures, bench.Figures]:
    """(all figures, those of the entry)."""
    figures = bench.measure(*digits(core), **given)
    return figures, next(iter(figures["entries"].values()))


def test_estimated_cycles_are_those_of_the_layers() -> None:
    figures, entry = measured("cortex-m4")
    assert entry["cycles"] is None and entry["instructions"] < entry["cycles_estimated"]
    assert sum(entry["instruction_classes"].values()) == entry["instructions"]
    for key in ("instructions", "cycles_estimated"):
        layers = sum(layer[key] for layer in figures["layers"])
        assert abs(layers - entry[key]) <= 0.02 * entry[key]  # maxima over samples, and a trace build's registers


def test_nothing_is_estimated_without_a_published_table() -> None:
    figures, entry = measured("cortex-m55")
    assert entry["cycles_estimated"] is None and entry["cycles"] is None
    assert all(layer["instructions"] > 0 and layer["cycles_estimated"] is None for layer in figures["layers"])


def test_a_second_simulator_adds_the_cycles() -> None:
    """Instructions by QEMU as before; cycles of the whole and of each layer are what rp2040js alone tells."""
    both, entry = measured("cortex-m0plus")
    assert entry["instructions"] < entry["cycles"] < 2 * entry["instructions"]
    alone, slow = measured("cortex-m0plus", sim="rp2040js")
    assert (entry["instructions"], entry["cycles"]) == (slow["instructions"], slow["cycles"])
    assert [layer["kernel"] for layer in both["layers"]] == [layer["kernel"] for layer in alone["layers"]]
    for fast, layer in zip(both["layers"], alone["layers"], strict=True):
        assert fast["instructions"] == layer["instructions"]
        assert 0.97 * layer["cycles"] <= fast["cycles"] <= layer["cycles"]  # of fewer samples


def test_the_simulators_agree_on_instructions(tmp_path: Path) -> None:
    """Each sample and each of its layers, two samples."""
    program, vectors = digits("cortex-m0plus")
    data = check.to_bytes(program.graph, {port: array[:2] for port, array in vectors.items()})
    for trace in ("", "marks"):
        told = {}
        for kind in ("qemu", "rp2040js"):
            place = tmp_path / kind / (trace or "full")
            told[kind] = runners.run(check.firmware(program, place, sim=kind, trace=trace), data, 2, count=True)
        qemu, slow = told.values()
        assert qemu.outputs == slow.outputs and qemu.instructions == slow.instructions
        assert qemu.nodes.keys() == slow.nodes.keys() and bool(qemu.nodes) == bool(trace)
        for node, seen in qemu.nodes.items():
            assert [c["instructions"] for c in seen] == [c["instructions"] for c in slow.nodes[node]]


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "uno"])
def test_ram_is_what_the_image_holds_and_the_stack_takes(core: str, tmp_path: Path) -> None:
    """The brain's struct in the image is arena and state to the byte; nothing but it and the stack is counted."""
    program, vectors = digits(core)
    ram = bench.measure(program, vectors, sim=program.target.sims[0].kind)["ram_bytes"]
    image = check.firmware(program, tmp_path).image
    assert image.symbols["brain"][1] == program.plan.nbytes == ram["arena"] + ram["state"]
    assert ram["total"] == ram["arena"] + ram["state"] + ram["static"] + ram["stack"]
    assert ram["static"] == 0 < ram["stack"] < 512
