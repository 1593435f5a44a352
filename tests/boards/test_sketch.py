"""The sketch and the self-test that every board gets, on this machine behind a few lines of Arduino core."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from brainc import actions, check, formats, project, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.emit import emit
from brainc.program import Program
from brainc.resources import examples_dir
from brainc.toolchain import write

HOST = Path(__file__).parent / "host"
PLAIN = Request(examples_dir() / "digits", portable=True)  # C that runs here, too
BOARD = "bluepill"
FLAGS = ["-std=gnu++11", "-Wall", "-Wextra", "-Werror", f"-I{HOST}"]


def compiled(folder: Path, sketch: Path, library: Path) -> Path:
    """The sketch with the brain and the core of this machine."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    made = folder / "sketch"
    subprocess.run(["gcc", "-O1", "-c", *map(str, library.glob("*.c")), "-o", f"{made}.o"], check=True)
    cpp = ["g++", *FLAGS, f"-I{library}", "-x", "c++", str(sketch), str(HOST / "main.cpp"), "-x", "none"]
    subprocess.run([*cpp, f"{made}.o", "-lm", "-o", str(made)], check=True)
    return made


def program() -> Program:
    return compile_job(prepare(PLAIN, BOARD))


def said(sketch: Path, *lines: str) -> list[str]:
    done = subprocess.run([str(sketch)], input="".join(f"{line}\n" for line in lines).encode(), capture_output=True)
    return done.stdout.decode().splitlines()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    actions.build(PLAIN, BOARD, tmp_path / "out", "project", lambda _: None)
    return tmp_path / "out"


def test_the_sketch_keeps_the_protocol(written: Path, tmp_path: Path) -> None:
    sketch = compiled(tmp_path, written / "src" / "main.cpp", written / "lib" / "digits" / "src")
    brain = program()
    vectors = samples.load(PLAIN.source / "test.npz", ports(brain.graph)).arrays
    image = vectors["image"][0].astype("<f4").tobytes().hex()
    want = check.reference(brain.graph, {"image": vectors["image"][:1]})[0]["scores"].astype("<f4").tobytes().hex()
    answers = said(sketch, "?", f"> image {image}", "!", "!", "0", f"> image {image.upper()}", "!")
    about = [f"BR brain digits {project.digest(emit(brain))}", "BR input image float 64", "BR output scores float 10"]
    step = [f"BR step scores {want.upper()}", "ok 0 us"]
    assert answers == [*about, "ok", "ok", *step, "error: fill every input before each !", "ok", "ok", *step]


def test_what_is_wrong_is_told_and_fills_nothing(written: Path, tmp_path: Path) -> None:
    sketch = compiled(tmp_path, written / "src" / "main.cpp", written / "lib" / "digits" / "src")
    lengths = ["> image", "> image 00", f"> image {'00' * 255}0", f"> image {'00' * 256}1"]
    for line in [*lengths, "> image zz", "> x 00", "> image_longer 00", "what"]:
        first, second = said(sketch, line, "!")
        assert first.startswith("error: ") and second == "error: fill every input before each !", line


@pytest.mark.parametrize("quantize", ["int8", "none"])
def test_the_self_test_sees_a_wrong_answer(tmp_path: Path, quantize: str) -> None:
    """Passes as it is, and fails by the name of the output where one of its bytes is another."""
    request = Request(PLAIN.source, portable=True, quantize=quantize)
    actions.build(request, BOARD, tmp_path / "out", "project", lambda _: None)
    source, library = tmp_path / "out" / "selftest" / "main.cpp", tmp_path / "out" / "lib" / "digits" / "src"
    sketch = compiled(tmp_path, source, library)
    assert subprocess.run([str(sketch), "once"], capture_output=True).stdout == b"BR selftest ok\r\n"
    text = source.read_text()
    head, number, tail = re.split(r"(golden_scores\[40\] PROGMEM = \{\n +\d+,\d+,\d+,)(?=\d+)", text, maxsplit=1)
    last = re.match(r"\d+", tail)
    assert last is not None
    source.write_text(f"{head}{number}{int(last[0]) ^ 128}{tail[last.end() :]}")  # the sign of the first score
    told = subprocess.run([str(compiled(tmp_path, source, library)), "once"], capture_output=True).stdout
    assert told == b"BR selftest FAILED: scores differs\r\n"


def test_a_state_starts_anew(tmp_path: Path) -> None:
    """A brain that adds up what it is fed: the board does so from step to step, until it is told to forget."""
    sizes = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in names] for names in ("xh", "s"))
    graph = helper.make_graph([helper.make_node("Add", ["x", "h"], ["s"])], "g", *sizes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "sum.onnx")
    wires = '"adder.x" = "in.x"\n"adder.h" = "adder.s"\n"out.y" = "adder.s"\n'
    manifest = f'[brain]\nname = "total"\n[modules.adder]\nfile = "sum.onnx"\n[wires]\n{wires}'
    (tmp_path / "brain.toml").write_text(manifest)
    request = Request(tmp_path, portable=True, quantize="none")
    actions.build(request, BOARD, tmp_path / "out", "project", lambda _: None)
    sketch = compiled(tmp_path, tmp_path / "out" / "src" / "main.cpp", tmp_path / "out" / "lib" / "total" / "src")
    fill = f"> x {np.float32(1.5).tobytes().hex()}"
    answers = [line.split()[3] for line in said(sketch, fill, "!", fill, "!", "0", fill, "!") if line[:2] == "BR"]
    assert [np.frombuffer(bytes.fromhex(a), "<f4")[0] for a in answers] == [1.5, 3.0, 1.5]


def test_an_own_sketch_is_the_example_too() -> None:
    own = formats.Delivery(program(), overlay={formats.SKETCH: b"/* mine */"})
    assert formats.make("platformio-library", own, {})["examples/digits/main.cpp"] == b"/* mine */"


def test_the_sketch_in_an_arduino_library(tmp_path: Path) -> None:
    """As the IDE takes it: unpacked, its example compiles against its src."""
    bundle = formats.make("arduino-library", formats.Delivery(program()), {})
    write(tmp_path, bundle)
    shutil.unpack_archive(tmp_path / "digits.zip", tmp_path)
    sketch = tmp_path / "digits" / "examples" / "digits" / "digits.ino"
    assert said(compiled(tmp_path, sketch, tmp_path / "digits" / "src"), "?")[-1] == "ok"
