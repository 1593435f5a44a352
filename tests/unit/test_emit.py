"""The generated C as a product: compiles without a warning, the same bytes every time, safe names."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graphs import Builder

from brainc import emit, memory
from brainc.c_names import Names, c_identifier
from brainc.compiler import Request, compile_job, prepare
from brainc.host_views import c_text
from brainc.kernels import KernelTable
from brainc.program import Program
from brainc.resources import examples_dir
from brainc.target import load_target

FLAGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror"]
DIGITS = examples_dir() / "digits"


def write(target: str, folder: Path, **options: str) -> Path:
    """The digits example as a C library in `folder`."""
    program = compile_job(prepare(Request(DIGITS, quantize="int8", **options), target))  # type: ignore[arg-type]
    for name, data in emit.emit(program).items():
        (folder / name).write_bytes(data)
    return folder


def compiles(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
def test_no_compiler_warns(compiler: str, level: str, tmp_path: Path) -> None:
    write("c99", tmp_path)
    compiles([compiler, "-std=c99", level, *FLAGS, "-c", str(tmp_path / "digits.c"), "-o", str(tmp_path / "o")])


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_floats_do_not_warn_either(compiler: str, tmp_path: Path) -> None:
    program = compile_job(prepare(Request(DIGITS, quantize="none"), "c99"))
    for name, data in emit.emit(program).items():
        (tmp_path / name).write_bytes(data)
    compiles([compiler, "-std=c99", "-O2", *FLAGS, "-c", str(tmp_path / "digits.c"), "-o", str(tmp_path / "o")])


def test_the_header_is_cplusplus_too(tmp_path: Path) -> None:
    write("c99", tmp_path)
    user = tmp_path / "user.cpp"
    user.write_text('#include "digits.h"\nstatic_assert(sizeof(digits_t) == DIGITS_RAM_BYTES, "");\n')
    compiles(["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(user)])


def test_two_brains_and_two_instances_in_one_program(tmp_path: Path) -> None:
    """Every symbol is static or starts with the brain's name; instances share nothing."""
    write("c99", tmp_path, io="int8")
    second = compile_job(prepare(Request(examples_dir() / "sorter", quantize="int8", io="int8"), "c99"))
    for name, data in emit.emit(second).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "main.c").write_text(
        '#include <string.h>\n#include "digits.h"\n#include "sorter.h"\n'
        "static digits_t one, two;\nstatic sorter_t other;\n"
        "int main(void)\n{\n"
        "    int8_t a[DIGITS_IMAGE_LEN], b[DIGITS_IMAGE_LEN], x[10], y[10], z[10];\n"
        "    for (int i = 0; i < DIGITS_IMAGE_LEN; i++) { a[i] = (int8_t)(i - 30); "
        "b[i] = (int8_t)(i * 7 % 90); }\n"
        "    digits_init(&one); digits_init(&two); sorter_init(&other);\n"
        "    digits_step(&one, a, x); digits_step(&two, b, y);\n"
        "    memcpy(digits_image(&one), a, sizeof a);\n"
        "    sorter_step(&other, a, NULL);\n"
        "    digits_step(&one, digits_image(&one), z);\n"
        "    return memcmp(x, z, 10) != 0 || memcmp(x, y, 10) == 0;\n}\n"
    )
    out = tmp_path / "a.out"
    sources = [str(tmp_path / f) for f in ("main.c", "digits.c", "sorter.c")]
    compiles(["gcc", "-std=c99", "-fsanitize=address,undefined", *FLAGS, *sources, "-o", str(out)])
    assert subprocess.run([str(out)]).returncode == 0


def test_the_same_bytes_whatever_the_hash_seed_and_locale(tmp_path: Path) -> None:
    script = (
        "import sys, hashlib; from pathlib import Path\n"
        "from brainc import formats; from brainc.compiler import Request, compile_job, prepare\n"
        f"for t in ('c99', 'cortex-m4', 'mega'):\n"
        f"    p = compile_job(prepare(Request(Path({str(DIGITS)!r}), quantize='int8'), t))\n"
        "    for form in formats.FORMATS:\n"
        "        for n, d in sorted(formats.make(form, formats.Delivery(p), {}).items()):\n"
        "            print(n, hashlib.sha256(d).hexdigest())\n"
    )
    outputs = []
    for seed, locale in (("1", "C"), ("2", "de_DE.UTF-8")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "LANG": locale}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "digits.c" in outputs[0]


def test_names_are_c_identifiers_and_never_collide() -> None:
    names = Names(["init"])
    given = [names.of(t) for t in ("init", "a/b", "a.b", "A_B", "int", "9lives", "é", "*/ evil", "x" * 300)]
    assert len({g.lower() for g in given}) == len(given)
    assert all(g.isidentifier() and g.isascii() and not g[0].isdigit() for g in given)
    assert names.of("a/b") == given[1]
    assert c_identifier("serving_default_input_1:0") == "serving_default_input_1_0"


def test_floats_read_back_to_the_same_bits() -> None:
    from brainc.weights import c_float

    values = np.random.default_rng(0).integers(0, 1 << 32, 2000, dtype=np.uint32).view(np.float32)
    for value in values[np.isfinite(values)]:
        assert np.float32(c_float(value).rstrip("f")) == value


def test_only_brains_with_declared_sums_hold_their_arithmetic() -> None:
    """lanes.h is in the C of a brain that has an op marked `bits`, and in no other."""
    for quantize in ("int8", "none"):
        program = compile_job(prepare(Request(DIGITS, quantize=quantize), "c99"))  # type: ignore[arg-type]
        assert b"br_lane" not in emit.emit(program)["digits.c"]
    b = Builder()
    y = b.add("rms", b.input("x", (1, 64)), b.normal(64), eps=1e-5)
    graph, target = b.graph(y), load_target("c99")
    choices = {node.name: KernelTable(target).choose(graph, node) for node in graph.nodes()}
    program = Program(graph, target, choices, memory.Plan(0, 0, 0, True, 1, (), {}))
    assert "br_lane_dot" in emit._arithmetic(program)


@pytest.mark.parametrize("text", ["", 'a "quoted"\\ line\n??/', "é漢" * 700, 'é\n"' * 2000])
def test_any_text_is_the_same_in_c(text: str, cc) -> None:  # type: ignore[no-untyped-def]
    """And within what C99 promises, which is 4,095 bytes to a literal."""
    said = f"static const char *const said = {c_text(text)};\n"
    library = cc(said + "const char *text(void);\nconst char *text(void)\n{\n    return said;\n}\n", "-Wpedantic")
    library.text.restype = ctypes.c_char_p
    assert library.text().decode() == text
