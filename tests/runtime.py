"""The C of host programs as a library that tests can call: built with every warning an error, and with sanitizers."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror")


def library(folder: Path, *sources: Path, compiler: str = "gcc") -> ctypes.CDLL:
    """These C files, loaded into this process; undefined behaviour ends it."""
    made = folder / "runtime.so"
    flags = [
        "-std=c99",
        "-O2",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        "-fsanitize=undefined,float-cast-overflow",
        "-fno-sanitize-recover",
    ]
    subprocess.run([compiler, *flags, *WARNINGS, *map(str, sources), "-o", str(made)], check=True)
    return ctypes.CDLL(str(made))
