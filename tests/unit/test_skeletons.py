"""`brainc new`: every skeleton works as it comes out, and a name that cannot be one is told so."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainc import check, kernels, manifest, samples, skeletons, toolchain
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.errors import UserError
from brainc.resources import templates_dir
from brainc.target import load_target

ROOT = Path(__file__).parents[2]
SKELETONS = (("brain", "judge"), ("op", "loudness"), ("op", "qloudness"), ("target", "my-board"),
             ("kernel", "cortex-m4/qdense/i8_fast"))  # fmt: skip


def write(folder: Path, kind: str, name: str) -> Mapping[str, bytes]:
    files = skeletons.make(kind, name)
    toolchain.write(folder, files)
    return files


@pytest.fixture
def small_checkout(tmp_path: Path) -> Path:
    """A checkout of one op, qdense, and the tests of all kernels that it finds."""
    own = shutil.ignore_patterns("__pycache__", "kernels")  # targets stay without kernels of their own
    for folder in ("brainc", "targets", "tests/kernels"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=own)
    for file in ("pyproject.toml", "tests/conftest.py", "tests/arm64.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "templates").mkdir()
    for path in (ROOT / "templates").glob("*.*"):
        shutil.copy(path, tmp_path / "templates")
    shutil.copytree(ROOT / "templates/qdense", tmp_path / "templates/qdense")
    return tmp_path


def kernel_tests(checkout: Path, words: str) -> str:
    """What the tests of all kernels say there of those whose name has one of the words."""
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "tests/kernels", "-k", words]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


@pytest.mark.parametrize(("kind", "name"), SKELETONS)
def test_skeletons_bear_their_name_and_are_clean_python(kind: str, name: str) -> None:
    for path, content in skeletons.make(kind, name).items():
        assert "NAME" not in path and not path.endswith(".txt")
        if path.endswith((".npz", ".onnx")):
            continue
        text = content.decode()
        assert "NAME" not in text and all(len(line) <= 120 for line in text.splitlines())
        if path.endswith(".py"):
            assert ast.get_docstring(ast.parse(text))
            command = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "-"]
            done = subprocess.run(command, input=text, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def test_new_ops_and_kernels_are_found_and_pass_the_kernel_tests(small_checkout: Path) -> None:
    write(small_checkout, "op", "loudness")
    write(small_checkout, "op", "qloudness")
    write(small_checkout, "kernel", "c99/qdense/i8_fast")
    told = kernel_tests(small_checkout, "loudness or i8_fast")
    for name in ("c/loudness/f32", "c/qloudness/i8", "c99/qdense/i8_fast"):
        assert f"{name}] PASSED" in told, told[-3000:]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("cortex-m4/qdense/i8_fast", "c/qdense/i8"),
        ("uno/add/f32_repeat_fast", "c/add/f32_repeat"),
        ("uno/add/f32_fast", "c/add/f32"),
        ("avr/maxpool2d/i8", "c/maxpool2d/i8"),
    ],
)
def test_a_new_kernel_is_its_portable_twin_for_its_target(name: str, base: str, tmp_path: Path) -> None:
    target, op, file = name.split("/")
    (path,) = write(tmp_path, "kernel", name)
    assert path == f"targets/{target}/kernels/{op}/{file}.c.j2"
    (made,) = kernels.scan(tmp_path / f"targets/{target}/kernels", target, 0)
    twin = next(k for k in kernels.scan(templates_dir(), "c", 0) if k.name == base)
    assert made.name == name and base in made.body and made.body.endswith(twin.body)
    assert replace(made, name=twin.name, path=twin.path, body=twin.body) == twin


def test_a_new_brain_answers_right_and_proves_itself(tmp_path: Path) -> None:
    write(tmp_path, "brain", "judge")
    job = prepare(Request(tmp_path / "judge", quantize="int8"), "c99")
    program = compile_job(job)
    brain = manifest.load(tmp_path / "judge")
    assert brain.name == "judge" and brain.samples is not None
    vectors = samples.load(brain.samples, ports(program.graph))
    rows = check.reference(program.graph, vectors.arrays)
    answers = np.array([row["scores"].argmax() for row in rows])
    assert np.mean(answers == vectors.labels) >= 0.9
    assert check.prove(program, {k: v[:20] for k, v in vectors.arrays.items()}).equal


def test_a_new_brain_is_what_its_script_makes(tmp_path: Path) -> None:
    files = write(tmp_path, "brain", "judge")
    done = subprocess.run([sys.executable, tmp_path / "judge/make_model.py"], capture_output=True, text=True)
    assert done.returncode == 0 and "told right" in done.stdout, done.stderr
    made, shipped = tmp_path / "judge", tmp_path / "shipped"
    toolchain.write(shipped, {p.removeprefix("judge/"): c for p, c in files.items()})
    with np.load(made / "samples.npz") as fresh, np.load(shipped / "samples.npz") as given:
        assert sorted(given) == ["point", "y"]
        assert all(np.array_equal(fresh[name], given[name]) for name in given)
        vectors = {"point": given["point"]}
    outputs = []
    for folder in (made, shipped):
        graph = compile_job(prepare(Request(folder), "c99")).graph
        outputs.append(np.array([row["scores"] for row in check.reference(graph, vectors)]))
    assert np.allclose(*outputs, atol=1e-5)


def test_a_new_target_runs_a_brain_with_its_own_arithmetic(tmp_path: Path) -> None:
    write(tmp_path, "target", "my-board")
    target = load_target("my-board", roots=(tmp_path / "targets",))
    assert target.title == "my-board" and target.chain == ("my-board", "c99")
    assert "BR_HAS_DOT_I8" in (target.find("primitives.h") or tmp_path).read_text(encoding="utf-8")
    job = prepare(Request(templates_dir().parent / "examples/digits", quantize="int8"), "c99")
    program = compile_job(replace(job, target=target))
    assert job.brain.samples is not None
    vectors = samples.load(job.brain.samples, ports(program.graph)).arrays
    assert check.prove(program, {k: v[:5] for k, v in vectors.items()}, sanitize=True).equal


@pytest.mark.parametrize(
    ("kind", "name", "what", "fix"),
    [
        ("brain", "my brain", "cannot name a brain", "my_brain"),
        ("brain", "../up", "cannot name a brain", "up"),
        ("brain", "int", "cannot name a brain", "int_"),
        ("op", "Loud", "cannot name an op", "small letters"),
        ("op", "lambda", "cannot name an op", "no word of Python"),
        ("op", "qdense", "there is an op qdense already", "another name"),
        ("target", "My Board", "cannot name a target", "dashes"),
        ("target", "avr", "there is a target avr already", "another name"),
        ("kernel", "i8_fast", "cannot name a kernel", "TARGET/OP/FILE"),
        ("kernel", "uno/qdense/I8", "cannot name a kernel", "small letters"),
        ("kernel", "unno/qdense/i8", "there is no target 'unno'", "did you mean uno?"),
        ("kernel", "uno/qdens/i8", "there is no op 'qdens'", "qdense"),
        ("kernel", "uno/reshape/any", "needs no kernel", "choose an op"),
        ("sketch", "x", "there is no skeleton of a sketch", "brain, op, kernel, target"),
    ],
)
def test_a_name_that_cannot_be_one_is_told_so(kind: str, name: str, what: str, fix: str) -> None:
    with pytest.raises(UserError) as caught:
        skeletons.make(kind, name)
    assert what in caught.value.what and fix in caught.value.fix
