"""No compiler has anything to say about real brains: the contract's warnings, as errors, on each of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from feeding import QDQ

from brainc import emit
from brainc.compiler import Request, compile_job, prepare
from brainc.target import load_target

FLAGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes"]


@pytest.mark.parametrize("target", ["c99", "x86-avx2", "cortex-m0plus", "cortex-m4", "cortex-m55", "mega"])
@pytest.mark.parametrize("name", QDQ)
def test_real_brains_compile_without_a_warning(models: Path, name: str, target: str, tmp_path: Path) -> None:
    request = Request(models / "mlperf-tiny" / "onnx" / f"{name}.onnx")
    program = compile_job(prepare(request, target))
    if program.plan.nbytes > load_target(target).spaces["ram"].bytes * 2:
        pytest.skip("its arena is larger than anything this core can address")
    for file, data in emit.emit(program).items():
        (tmp_path / file).write_bytes(data)
    chain = load_target(target).toolchain
    compilers = [chain.cc, "clang"] if chain.cc == "gcc" else [chain.cc]
    found = [c for c in compilers if shutil.which(c)]
    if not found:
        pytest.skip(f"{' and '.join(compilers)} are not installed")
    for compiler in found:
        source = str(tmp_path / f"{name}.c")
        flags = [f"-std={chain.std}", chain.optimize, "-Werror", *FLAGS, *chain.flags]
        command = [compiler, *flags, "-c", source, "-o", f"{tmp_path}/o"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
