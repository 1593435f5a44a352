"""The door as a user meets it: exit codes, JSON that is nothing but JSON, errors with what, where and fix."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf_files
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import cli, toolchain
from brainc.resources import examples_dir

DIGITS = str(examples_dir() / "digits")
Result = tuple[int, str, str]


@pytest.fixture
def brainc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command line in this process: (exit code, standard output, standard error)."""

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["brainc", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def model(folder: Path, op: str = "Relu", shape: tuple[object, ...] = (1, 4), hidden: int = 4) -> Path:
    """A tiny float model: dense, then `op`."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, hidden))
    w = numpy_helper.from_array(np.ones((4, hidden), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "dense"), helper.make_node(op, ["h"], ["y"], "act")]
    graph = helper.make_graph(nodes, "tiny", [x], [y], [w])
    path = folder / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_build_writes_a_library_and_says_the_plan(brainc: Callable[..., Result], tmp_path: Path) -> None:
    code, out, _ = brainc("build", DIGITS, "-t", "c99", "--quantize", "int8", "-o", tmp_path / "out")
    assert code == 0
    assert "arena" in out and "no plan needs less" in out
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"digits.h", "digits.c", "report.json"}


def test_json_is_one_object_and_nothing_else(brainc: Callable[..., Result], tmp_path: Path) -> None:
    code, out, _ = brainc("build", DIGITS, "-t", "cortex-m0plus", "-o", tmp_path, "--json")
    assert code == 0
    assert json.loads(out)["brain"] == "digits"


def test_a_float_model_without_fpu_needs_samples(brainc: Callable[..., Result], tmp_path: Path) -> None:
    code, _, err = brainc("build", model(tmp_path), "-t", "cortex-m3", "-o", tmp_path / "out")
    assert code == 2
    assert "tiny is a float model to be quantised, but there are no samples" in err
    assert "x [1, 4]" in err and "--calibrate samples.npz" in err and "--calibrate random" in err
    assert not (tmp_path / "out").exists()


def test_random_calibration_marks_the_report(brainc: Callable[..., Result], tmp_path: Path) -> None:
    path = model(tmp_path)
    code, out, err = brainc("build", path, "-t", "cortex-m3", "-o", tmp_path / "out", "--calibrate", "random", "--json")
    assert code == 0
    assert json.loads(out)["random_calibration"] is True
    assert "answers are not" in err


def test_an_unknown_op_is_named(brainc: Callable[..., Result], tmp_path: Path) -> None:
    code, _, err = brainc("build", model(tmp_path, "Det"), "-t", "c99", "-o", tmp_path / "out")
    assert code == 2
    assert "Det" in err and "act" in err and "tiny.onnx" in err and "fix" in err


def test_a_symbolic_axis_asks_for_its_size(brainc: Callable[..., Result], tmp_path: Path) -> None:
    path = model(tmp_path, shape=(1, "time"))
    code, _, err = brainc("show", path)
    assert code == 2
    assert "--shape time=" in err
    assert brainc("show", path, "--shape", "time=4")[0] == 0
    code, _, err = brainc("show", path, "--shape", "time=four")
    assert code == 2 and "--shape time=four is not NAME=N" in err


def test_samples_of_a_wrong_shape_name_both(brainc: Callable[..., Result], tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=np.zeros((3, 5), np.float32))
    code, _, err = brainc("run", model(tmp_path), "-t", "c99", "--input", tmp_path / "bad.npz")
    assert code == 2
    assert "5" in err and "4" in err and "bad.npz" in err


def test_a_corrupt_model_is_the_users(brainc: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07garbage" * 50)
    code, _, err = brainc("show", tmp_path / "broken.onnx")
    assert code == 2
    assert "broken.onnx" in err and "Traceback" not in err


def test_a_missing_file_and_an_unknown_target(brainc: Callable[..., Result], tmp_path: Path) -> None:
    code, _, err = brainc("show", tmp_path / "none.onnx")
    assert code == 2 and "none.onnx" in err
    code, _, err = brainc("build", DIGITS, "-t", "cortex-m44", "-o", tmp_path)
    assert code == 2 and "cortex-m4" in err


def test_what_does_not_fit_says_the_peak_and_a_way_out(brainc: Callable[..., Result], tmp_path: Path) -> None:
    path = model(tmp_path, hidden=3000)
    code, _, err = brainc("build", path, "-t", "uno", "-o", tmp_path / "out", "--calibrate", "random")
    assert code == 2
    assert "FitError" in err and "bytes of ram" in err and "peak" in err and "--io int8" in err
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_is_json_too(brainc: Callable[..., Result], tmp_path: Path) -> None:
    words = ("-t", "uno", "-o", tmp_path / "out", "--calibrate", "random", "--json")
    code, out, err = brainc("build", model(tmp_path, hidden=3000), *words)
    found = json.loads(out)
    assert code == 2 and "FitError" in err
    assert not found["fit"]["fits"] and found["fit"]["ram"]["bytes"] > found["fit"]["ram"]["limit"] == 2048
    assert all({"change", "fits", "ram", "flash"} <= trial.keys() for trial in found["fit"]["tried"])


@pytest.mark.parametrize("verb", ["check", "bench"])
def test_what_does_not_fit_is_told_before_it_is_linked(
    brainc: Callable[..., Result], tmp_path: Path, verb: str
) -> None:
    path = model(tmp_path, hidden=3000)
    code, _, err = brainc(verb, path, "-t", "uno", "--calibrate", "random")
    assert code == 2
    assert "FitError" in err and "bytes of ram" in err and ": fits" in err


def test_a_budget_is_held_against_what_is_measured(brainc: Callable[..., Result]) -> None:
    if toolchain.locate("avr-gcc") is None or toolchain.locate("libsimavr") is None:
        pytest.skip("needs avr-gcc and libsimavr")
    code, out, _ = brainc("bench", DIGITS, "-t", "uno", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["budget"]["ram"]["limit"] == 1400 and found["budget"]["ram"]["ok"] is True
    assert found["budget"]["cycles"]["used"] == found["entries"]["step"]["cycles"]
    assert all({"cycles", "instructions"} <= set(layer) for layer in found["layers"])


def test_a_full_disk_is_the_devices_fault_and_leaves_nothing(
    brainc: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    code, _, err = brainc("build", DIGITS, "-t", "c99", "-o", tmp_path / "out")
    assert code == 3
    assert "No space left on device" in err and "make room" in err
    assert not list((tmp_path / "out").iterdir())


def test_run_answers_and_writes(brainc: Callable[..., Result], tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.arange(8, dtype=np.float32).reshape(2, 4))
    code, out, _ = brainc("run", model(tmp_path), "-t", "c99", "--input", tmp_path / "in.npz")
    assert code == 0
    assert "y[0]  6 6 6 6" in out and "y[1]  22 22 22 22" in out
    out_file = tmp_path / "out.npz"
    assert (
        brainc("run", tmp_path / "tiny.onnx", "-t", "c99", "--input", tmp_path / "in.npz", "--output", out_file)[0] == 0
    )
    assert np.load(out_file)["y"].tolist() == [[[6.0] * 4], [[22.0] * 4]]


def test_show_has_all_its_pictures(brainc: Callable[..., Result]) -> None:
    code, out, _ = brainc("show", DIGITS, "--quantize", "int8", "--memory", "--kernels", "--cost")
    assert code == 0
    assert "bytes, least possible" in out and "chosen over" in out and "MACs" in out
    assert "two letters: the second is written over the first" in out and re.search(r"step 1 .* → .*, over [A-Z]", out)
    code, out, _ = brainc("show", DIGITS, "--at", "imported")
    assert code == 0 and "@IMPORTED" in out


def test_show_says_why_each_kernel_won(brainc: Callable[..., Result]) -> None:
    """What it was chosen over and at what cost, and of each that is out the condition with what the layer has."""
    words = ("show", DIGITS, "-t", "cortex-m4", "--quantize", "int8", "--kernels")
    code, out, _ = brainc(*words)
    assert code == 0
    assert "digits on cortex-m4, optimized for speed: the cheapest" in out
    assert re.search(r"cortex-m-dsp/qconv2d/\w+ +[\d.]+ k +\d+ +\S+/qconv2d/\w+: cost [\d.]+ [kM]", out)
    assert "types are i8 -> f32" in out
    found = json.loads(brainc(*words, "--json")[1])
    for step, candidates in found["candidates"].items():
        fit = [c for c in candidates if not c["failed"]]
        assert found["kernels"][step] in [c["kernel"] for c in fit if c["cost"] == min(f["cost"] for f in fit)]


@pytest.mark.parametrize("what", ["speed", "ram", "flash"])
def test_every_verb_takes_and_tells_what_matters_most(brainc: Callable[..., Result], tmp_path: Path, what: str) -> None:
    brain = (DIGITS, "--quantize", "int8", "--optimize", what)
    samples = examples_dir() / "digits" / "test.npz"
    verbs = {
        ("build", "-t", "cortex-m4", "-o", tmp_path): f"optimized for {what}",
        ("show", "-t", "cortex-m4", "--kernels"): f"optimized for {what}",
        ("check", "-t", "c99", "--limit", 1): "the same",
        ("bench", "-t", "c99"): f"optimized for {what}",
        ("run", "-t", "c99", "--input", samples, "--output", tmp_path / "out.npz"): "wrote",
    }
    for (verb, *words), told in verbs.items():
        code, out, err = brainc(verb, *brain, *words)
        assert code == 0 and told in out
        assert what == "speed" or f"optimized for {what}" in err
    assert json.loads((tmp_path / "report.json").read_text())["optimize"] == what


def test_targets_and_doctor_list(brainc: Callable[..., Result]) -> None:
    code, out, _ = brainc("targets", "--json")
    assert code == 0
    assert {"uno", "mega", "cortex-m4", "x86-avx2", "c99"} <= {t["name"] for t in json.loads(out)["targets"]}
    code, out, _ = brainc("doctor", "--json")
    assert code == 0
    assert "avr-gcc" in {t["name"] for t in json.loads(out)["tools"]}


def test_a_typing_slip_is_no_traceback(brainc: Callable[..., Result]) -> None:
    code, _, err = brainc("biuld")
    assert code == 2 and "No such command" in err


def test_a_language_model_keeps_its_names_and_shows_its_memory(brainc: Callable[..., Result], tmp_path: Path) -> None:
    """Weights are called as in the file, in `show` and beside the calls in C; places of like layers are told once."""
    path = gguf_files.write(tmp_path / "small.GGUF", "llama", "Q4_1")
    assert "const blk.3.attn_q.weight : w4m[96,3]" in brainc("show", path)[1]
    code, out, _ = brainc("build", path, "-t", "c99", "-o", tmp_path / "a folder")
    assert code == 0 and f"cmake -S '{tmp_path}/a folder'" in out
    assert re.search(
        r"/\* decode/blk\.3/q: dense8 .*blk\.3\.attn_q\.weight w4m", (tmp_path / "a folder/small.c").read_text()
    )
    out = brainc("show", path, "--memory")[1]
    header = (tmp_path / "a folder/small.h").read_text()
    for part in ("ARENA", "STATE", "THREAD"):
        size = re.search(rf"SMALL_{part}_BYTES (\d+)", header)
        assert size and f"{int(size[1]):,} bytes" in out
    assert out.count("blk.#/gate\n") == 2 and "scratch of blk.#/mixed" in out and "keys" not in out


@pytest.mark.parametrize("module", ["brainc", "brainc.cli"])
def test_closed_streams_are_no_traceback(module: str) -> None:
    for closed in (">&-", ">&- 2>&-"):
        command = f"{sys.executable} -m {module} targets {closed}; echo $?; {sys.executable} -m {module} none {closed}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        assert (done.stdout, done.returncode) == ("0\n", 2) and "Traceback" not in done.stderr


def test_who_stops_it_while_it_is_imported_sees_no_traceback() -> None:
    code = "def stop(name, *_):\n    if name == 'click': raise KeyboardInterrupt\n"
    code += "import sys; sys.meta_path.insert(0, type('_', (), {'find_spec': stop}))\n"
    code += "from brainc.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_model_file_is_known_by_its_suffix(brainc: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"GGUF")
    code, _, err = brainc("show", tmp_path / "model")
    assert code == 2 and "model has no suffix that tells its kind" in err and ".gguf" in err


@pytest.mark.parametrize(("option", "text"), [("--temperature", "nan"), ("--temperature", "101"), ("--top-k", "1.5")])
def test_settings_of_a_program_are_held_to_their_limits(brainc: Callable[..., Result], option: str, text: str) -> None:
    code, _, err = brainc("generate", "none.gguf", "--prompt", "a", option, text)
    assert code == 2 and f"{text} is not a number from 0" in err
