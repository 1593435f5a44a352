"""Names that people and exporters give: none of them may break the C, or hide a header.

They prove it by compiling: C with all warnings, the header in C++ after a sketch's macros.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from making import compiled, numbers, proven, save
from onnx import helper

from brainc import emit
from brainc.c_names import c_file_name
from brainc.errors import ManifestError

# what NAME.c itself says, types and functions of C, macros of sketches, words of C++, signs that turn text
NAMES = ["brain", "m", "NULL", "AT", "memcpy", "int8_t", "br_len", "ram", "t", "init", "step", "INPUT", "ADC"]
NAMES += ["operator", "not", "a\u202eb", "*/", "//", "a b", "a_b", "A_B", "größe", "1", "y_w", "add_f32_0"]


def model(folder: Path, name: str = "odd") -> Path:
    """Every name is an input, and with `out` before it an output."""
    nodes = [helper.make_node("Sum", NAMES, ["s"], name="y"), helper.make_node("Neg", ["s"], ["y"], name="")]
    nodes += [helper.make_node("Mul", [n, "c"], ["out" + n], name=n) for n in NAMES]
    ports = [(n, [1, 2]) for n in NAMES]
    outputs = [("y", [1, 2]), *(("out" + n, [1, 2]) for n in NAMES)]
    return save(folder / f"{name}.onnx", nodes, {"c": numbers(1, 2)}, ports, outputs)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_any_name_of_a_port_or_node_compiles(tmp_path: Path, quantize: str) -> None:
    proven(compiled(model(tmp_path), quantize=quantize, calibrate="random"))


def test_header_after_the_macros_of_a_sketch(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    program = compiled(model(tmp_path), quantize="none")
    (tmp_path / "odd.h").write_bytes(emit.emit(program)["odd.h"])
    macros = "".join(f"#define {n} 0x0\n" for n in ("INPUT", "ADC", "AT", "A_B"))
    (tmp_path / "sketch.cpp").write_text(f'{macros}#include <string.h>\n#include <stdint.h>\n#include "odd.h"\n')
    command = ["g++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "sketch.cpp"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def small(folder: Path, name: str) -> Path:
    return save(folder / f"{name}.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, [("x", [4])], [("y", [4])])


@pytest.mark.parametrize("stem", ["string", "math", "harness", "size", "int32", "ssize"])
def test_a_model_file_called_like_a_header_or_a_type(tmp_path: Path, stem: str) -> None:
    program = compiled(small(tmp_path, stem))
    assert program.name == c_file_name(stem) != stem
    proven(program)


def test_a_brain_called_like_a_header_is_refused(tmp_path: Path) -> None:
    small(tmp_path, "net")
    manifest = tmp_path / "brain.toml"
    manifest.write_text('[brain]\nname = "string"\n[modules.net]\nkind = "onnx"\nfile = "net.onnx"\n')
    with pytest.raises(ManifestError, match=r"string\.h or string_t would stand in"):
        compiled(manifest)
