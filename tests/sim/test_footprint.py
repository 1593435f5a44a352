"""What a build says of flash, RAM and stack is what the bench measures, and what the board's sketch really takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import actions, bench, emit, fit, footprint, formats, samples, toolchain
from brainc.compiler import Job, Request, compile_job, ports, prepare
from brainc.errors import FitError
from brainc.program import Program
from brainc.resources import examples_dir
from brainc.target import Target, load_target

pytestmark = pytest.mark.sim

CORE = Path("/usr/share/arduino/hardware/arduino/avr")


def digits(target: str) -> tuple[Job, Program]:
    missing = [t.name for t in toolchain.doctor() if target in t.targets and t.path is None and t.name != "pio"]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    job = prepare(Request(examples_dir() / "digits", quantize="int8", io="int8"), target)
    return job, compile_job(job)


@pytest.mark.parametrize("target", ["uno", "mega", "cortex-m4"])
def test_a_build_says_what_the_bench_measures(target: str) -> None:
    _, program = digits(target)
    found = footprint.measured(program)
    figures = bench.measure(program, samples.random(ports(program.graph), 2, 1).arrays)
    assert not found.missing
    assert found.flash == figures["flash_bytes"]["total"] and found.static == figures["ram_bytes"]["static"]
    assert abs(found.ram - figures["ram_bytes"]["total"]) <= 8  # another input may go a little deeper


def conv_net(folder: Path, channels: int) -> Path:
    """Two convolutions on 16 x 16 pixels: little to store, much to hold."""
    rng, wide = np.random.default_rng(0), channels
    shapes = {"a": (wide, 1, 3, 3), "b": (4, wide, 3, 3)}
    given = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"], "act"),
        helper.make_node("Conv", ["r", "b"], ["y"], "second", strides=[4, 4], pads=[1, 1, 1, 1]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 16, 16))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 4, 4))
    graph = helper.make_graph(nodes, "wide", [x], [y], given)
    path = folder / "wide.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_what_does_not_fit_is_measured_too_and_every_fix_is_true(tmp_path: Path) -> None:
    """An Uno has no RAM for it, yet its code and stack are known; a change said to fit does build."""
    digits("uno")
    request = Request(conv_net(tmp_path, 24), calibrate="random")
    with pytest.raises(FitError) as told:
        actions.build(request, "uno", tmp_path / "out", "project", print)
    data = told.value.data
    assert not data["fits"] and data["measured"] and data["ram"]["bytes"] > data["ram"]["limit"]
    assert data["ram"]["parts"]["stack"] > 20 and data["flash"]["parts"]["code"] > 500
    fitting = [trial["change"] for trial in data["tried"] if trial["fits"]]
    assert any(change.startswith("-t mega") for change in fitting), data["tried"]
    built, lines = actions.build(request, "mega", tmp_path / "out", "project", print)
    same = next(trial for trial in data["tried"] if trial["change"].startswith("-t mega"))
    assert built["fit"]["ram"] == same["ram"] and built["fit"]["flash"] == same["flash"]
    assert any("stack" in str(line) for line in lines)


def compiled(source: Path, work: Path, flags: list[str]) -> Path:
    """An object as the Arduino tools make it."""
    words = {
        ".c": ["-std=gnu11"],
        ".cpp": ["-std=gnu++11", "-fpermissive", "-fno-exceptions", "-fno-threadsafe-statics"],
    }
    words[".S"] = ["-x", "assembler-with-cpp"]
    made = work / f"{source.name}.o"
    cc = "avr-g++" if source.suffix == ".cpp" else "avr-gcc"
    subprocess.run([cc, *words[source.suffix], *flags, "-w", "-c", source, "-o", made], check=True)
    return made


def sketch_image(target: Target, variant: str, bundle: emit.Bundle, work: Path) -> toolchain.Elf:
    """A written project with the real Arduino core, linked as the Arduino tools do."""
    toolchain.write(work, bundle)
    named = [name for name in bundle if not name.startswith("selftest")]
    own = [work / name for name in named if name.endswith((".c", ".S", ".cpp"))]
    flags = [f"-mmcu={target.sims[0].mcu}", "-DF_CPU=16000000L", "-DARDUINO=10819", "-DARDUINO_ARCH_AVR", "-Os"]
    flags += ["-flto", "-ffunction-sections", "-fdata-sections", "-DDECIMAL_DIG=__DECIMAL_DIG__"]
    flags += ["-DUSB_VID=0x2341", "-DUSB_PID=0x8036"]  # read where the chip has a USB of its own
    flags += [f"-I{folder}" for folder in (CORE / "cores/arduino", CORE / "variants" / variant)]
    flags += [f"-I{path.parent}" for path in own]
    core = [p for p in sorted((CORE / "cores/arduino").iterdir()) if p.suffix in (".c", ".cpp", ".S")]
    archive, elf = work / "core.a", work / "sketch.elf"
    subprocess.run(["avr-gcc-ar", "rcs", archive, *(compiled(p, work, flags) for p in core)], check=True)
    objects = [compiled(p, work, flags) for p in own]
    link = ["avr-gcc", *flags, "-fuse-linker-plugin", "-Wl,--gc-sections", *objects, archive, "-lm", "-o", elf]
    subprocess.run(link, check=True)
    return toolchain.read_elf(elf)


@pytest.mark.parametrize(("target", "variant"), [("uno", "standard"), ("mega", "mega"), ("leonardo", "leonardo")])
def test_what_is_kept_for_the_sketch_is_what_it_takes(target: str, variant: str, tmp_path: Path) -> None:
    if not CORE.is_dir():
        pytest.skip("needs arduino-core-avr")
    job, program = digits(target)
    found, machine = footprint.measured(program), load_target(target)
    bundle = formats.make("project", formats.Delivery(program), fit.judge(job, found).data)
    image = sketch_image(machine, variant, bundle, tmp_path)
    flash, ram = image.flash_bytes - found.flash, image.ram_bytes - found.arena - found.state
    assert 0.75 * machine.spaces["flash"].board <= flash <= machine.spaces["flash"].board
    assert ram <= machine.spaces["ram"].board - 64  # frames of the sketch and of an interrupt come on top
    assert ram >= 0.5 * machine.spaces["ram"].board
