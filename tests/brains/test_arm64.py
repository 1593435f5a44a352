"""Brains on a 64-bit Arm machine: the answers of every other one, with no flag that asks for them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_files
import pytest
from arm64 import CC, OBJDUMP, QEMU, arm64, needs_tools
from feeding import QDQ, int8_samples

from brainc import check, cli_language, native, samples
from brainc.actions import build
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.errors import UserError
from brainc.resources import examples_dir
from brainc.target import Target

__all__ = ["arm64"]
WORDS = ("--prompt", "hello, wörld", "--tokens", "5", "--seed", "3", "--temperature", "1", "--json")
FUSED = re.compile(r"\tfn?m(?:add|sub|la|ls)\t.*")  # a product and a sum of reals in one instruction


def folder_of(path: Path, architecture: str, kind: str, target: str) -> Path:
    """What `brainc build` writes of a small random model called `tiny`."""
    model = gguf_files.write(path / "tiny.gguf", architecture, kind)
    build(Request(model), target, path / target, "project", lambda line: None)
    return path / target


def told(folder: Path, *command: str | Path) -> tuple[str, str, list[int]]:
    """What a program said, and the hash of all its logits."""
    weights = ("--weights", folder / "tiny.weights")
    done = subprocess.run([*command, *weights, *WORDS], capture_output=True, check=True, timeout=60)
    data: dict[str, Any] = json.loads(done.stdout)
    return data["hash"], data["text"], data["tokens"]


def here(folder: Path) -> Path:
    """The program for the machine that this runs on."""
    sources = sorted(folder.glob("*.c"))
    subprocess.run(["gcc", "-std=c99", "-O1", "-pthread", *sources, "-o", folder / "here", "-lm"], check=True)
    return folder / "here"


def by_hand(folder: Path) -> Path:
    """The program as someone compiles it who gives no flags that matter; nothing in its answers is fused."""
    objects = [f"{source.stem}.o" for source in sorted(folder.glob("*.c"))]
    subprocess.run([CC, "-O2", "-c", *(o.replace(".o", ".c") for o in objects)], cwd=folder, check=True)
    for exact in ("tiny.o", "sample.o"):
        code = subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", folder / exact], check=True, capture_output=True)
        assert b"fmul" in code.stdout and not FUSED.findall(code.stdout.decode())
    subprocess.run([CC, "-static", "-pthread", *objects, "-o", "arm64", "-lm"], cwd=folder, check=True)
    return folder / "arm64"


def by_cmake(folder: Path) -> Path:
    """The program as its CMakeLists.txt makes it."""
    (folder / "arm64.cmake").write_text(
        f"set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\nset(CMAKE_C_COMPILER {CC})\n"
    )
    given = [f"-DCMAKE_TOOLCHAIN_FILE={folder / 'arm64.cmake'}", "-DCMAKE_EXE_LINKER_FLAGS=-static"]
    subprocess.run(["cmake", "-S", folder, "-B", folder / "made", *given], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", folder / "made"], check=True, capture_output=True)
    return folder / "made" / "tiny"


@pytest.mark.parametrize(("architecture", "kind", "make"), [("gemma3", "Q6_K", by_hand), ("qwen2", "Q4_1", by_cmake)])
def test_a_language_model_has_the_bits_it_has_here(architecture: str, kind: str, make: Any, tmp_path: Path) -> None:
    needs_tools()
    if make is by_cmake and not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    folder = folder_of(tmp_path, architecture, kind, "c99")
    program = make(folder)
    want = told(folder, here(folder))
    for threads in ("1", "4"):
        assert told(folder, QEMU, program, "--threads", threads) == want


def test_c_for_another_machine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tools()
    folder = folder_of(tmp_path, "llama", "Q4_1", "x86-avx2")
    done = subprocess.run([CC, "-c", "tiny.c"], cwd=folder, capture_output=True, text=True)
    assert done.returncode and "build the brain with -t c99" in done.stderr
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(UserError, match="not for this machine"):
        native.load(folder)


@pytest.mark.parametrize(
    ("machine", "target"), [("aarch64", "c99"), ("arm64", "c99"), ("riscv64", "c99"), ("x86_64", "x86-avx2")]
)
def test_a_machine_is_spoken_to_in_its_best_accent(machine: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert cli_language._here() == target


@pytest.mark.parametrize(("name", "quantize"), [("digits", "int8"), ("digits", "none"), ("sorter", "int8")])
def test_an_example_answers_as_its_reference(name: str, quantize: str, arm64: Target) -> None:
    """Integers to the byte, reals nearly."""
    folder = examples_dir() / name
    program = compile_job(prepare(Request(folder, quantize=quantize), "c99"))
    loaded = samples.load(folder / "test.npz", ports(program.graph)).arrays
    rung = check.prove(replace(program, target=arm64), {port: array[:3] for port, array in loaded.items()})
    assert rung.first_difference is None


@pytest.mark.parametrize("name", [QDQ[0], *(pytest.param(n, marks=pytest.mark.slow) for n in QDQ[1:])])
def test_a_qdq_twin_gives_the_reference_bytes(name: str, models: Path, arm64: Target) -> None:
    program = compile_job(prepare(Request(models / "mlperf-tiny" / "onnx" / f"{name}.onnx"), "c99"))
    (port, type_), *_ = ports(program.graph)
    x = int8_samples(models, name, 2)
    rung = check.prove(replace(program, target=arm64), {port: x.reshape(len(x), *type_.shape)})
    assert rung.first_difference is None
