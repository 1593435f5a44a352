"""llama.cpp for tests: the Python that can import llama_cpp, as BRAINC_LLAMA_PYTHON says or this one; else a skip."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from brainc.dtypes import Array

_LOGITS = """
import json, sys
import numpy as np
from llama_cpp import Llama
asked = json.load(sys.stdin)
for at, file in enumerate(asked["files"]):
    model = Llama(file, n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    model.eval(asked["tokens"])
    np.save(f"{asked['folder']}/{at}.npy", np.array(model.scores[: len(asked["tokens"])], np.float32))
"""


def python() -> str:
    """A Python that has llama.cpp."""
    if named := os.environ.get("BRAINC_LLAMA_PYTHON"):
        return named
    if importlib.util.find_spec("llama_cpp"):
        return sys.executable
    pytest.skip("llama-cpp-python is not here (BRAINC_LLAMA_PYTHON names a Python that has it)")


def logits(files: Sequence[Path], tokens: Sequence[int]) -> list[Array]:
    """llama.cpp's logits behind each of the tokens, for each file: float32 [T,V]."""
    with tempfile.TemporaryDirectory() as folder:
        return _logits(files, tokens, folder)


def _logits(files: Sequence[Path], tokens: Sequence[int], folder: str) -> list[Array]:
    asked = json.dumps({"files": [str(f) for f in files], "tokens": list(tokens), "folder": folder})
    done = subprocess.run([python(), "-c", _LOGITS], input=asked.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [np.load(f"{folder}/{at}.npy") for at in range(len(files))]
