"""The promise itself: one brain, the same bytes from the numpy reference and from every machine.

The default run takes some samples of each QDQ twin and example on every target; the whole of it (20 samples
each) is `-m slow`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from feeding import QDQ, int8_samples
from machines import machines

from brainc import check, samples, toolchain
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.resources import examples_dir

MACHINES = [t.name for t in machines()]
EXAMPLES = ("digits", "sorter")
SMALL = ("uno", "mega", "leonardo")  # what does not fit there is no failure


def needs_tools(target: str) -> None:
    missing = [t.name for t in toolchain.doctor() if target in t.targets and t.path is None]
    missing = [m for m in missing if m not in ("rp2040js", "valgrind", "pio", "avrdude", "node", "npm")]
    if missing:
        pytest.skip(f"{target} needs {', '.join(missing)}")


def prove(request: Request, target: str, arrays: dict[str, object]) -> None:
    program = compile_job(prepare(request, target))
    host = program.target.sims[0].kind == "host"
    rung = check.prove(program, arrays, sanitize=host)  # type: ignore[arg-type]
    assert rung.first_difference is None


@pytest.mark.sim
@pytest.mark.parametrize("target", [m for m in MACHINES if m not in SMALL])
@pytest.mark.parametrize("name", QDQ)
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_qdq_twins_give_the_reference_bytes(models: Path, name: str, target: str, count: int) -> None:
    needs_tools(target)
    request = Request(models / "mlperf-tiny" / "onnx" / f"{name}.onnx")
    graph = prepare(request, target).graph
    (port, type_), *_ = ports(graph)
    x = int8_samples(models, name, count)
    prove(request, target, {port: x.reshape(len(x), *type_.shape)})


@pytest.mark.sim
@pytest.mark.parametrize("target", MACHINES)
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("io", ["native", "int8"])
@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_examples_give_the_reference_bytes(name: str, target: str, io: str, count: int) -> None:
    needs_tools(target)
    folder = examples_dir() / name
    request = Request(folder, quantize="int8", io=io)
    program = compile_job(prepare(request, target))
    loaded = samples.load(folder / "test.npz", ports(program.graph)).arrays
    prove(request, target, {k: v[:count] for k, v in loaded.items()})
