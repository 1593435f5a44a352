"""How well a scribe knows its book: bits per symbol of the compiled brain on the text that it never saw.

    python examples/scribe/score.py                # scribe.onnx as 4-bit integers: about half a minute
    python examples/scribe/score.py float.onnx     # another network of the same ports, as it is
    python examples/scribe/score.py rival.onnx --quantize int8

Builds the network for this machine with brainc and a C compiler, and feeds it the held-out text in one stream from an
empty state. What it answers is softened into probabilities in float64; -log2 of the symbol that comes next, averaged.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from corpus import SYMBOLS, Tokens, load
from numpy.typing import NDArray

HERE = Path(__file__).parent
MANIFEST = """
[brain]
name = "score"
[modules.net]
kind = "onnx"
file = "net.onnx"
calibrate = "calibration.npz"
quant = {{ weights = "{weights}" }}
[wires]
"net.token" = "in.token"
"net.h" = "net.h_next"
"out.logits" = "net.logits"
"""
WEIGHTS = {"int8": "i8", "none": "f32"}
Step = Callable[[int], NDArray[np.float32]]  # a symbol to the logits of the next


def built(network: Path, quantize: str, folder: Path) -> Step:
    """The network as C for this machine, loaded into this process."""
    shutil.copy(network, folder / "net.onnx")
    shutil.copy(HERE / "calibration.npz", folder)
    (folder / "brain.toml").write_text(MANIFEST.format(weights=WEIGHTS[quantize]))
    library, made = folder / "score.so", folder / "c"
    subprocess.run(["brainc", "build", folder, "-t", "c99", "-o", made], check=True, capture_output=True)
    subprocess.run(["cc", "-O3", "-shared", "-fPIC", made / "score.c", "-o", library, "-lm"], check=True)
    size = re.search(r"SCORE_RAM_BYTES (\d+)", (made / "score.h").read_text())
    assert size is not None
    brain = ctypes.create_string_buffer(int(size[1]) + 64)
    code, logits = ctypes.CDLL(str(library)), np.zeros(len(SYMBOLS), np.float32)
    code.score_init(brain)

    def step(token: int) -> NDArray[np.float32]:
        code.score_step(brain, ctypes.byref(ctypes.c_int32(token)), logits.ctypes.data_as(ctypes.c_void_p))
        return logits

    return step


def bits(step: Step, tokens: Tokens) -> float:
    """Bits per symbol."""
    answers = np.empty((len(tokens) - 1, len(SYMBOLS)))
    for i, token in enumerate(tokens[:-1].tolist()):
        answers[i] = step(token)
    answers -= answers.max(axis=1, keepdims=True)
    right = answers[np.arange(len(answers)), tokens[1:]] - np.log(np.exp(answers).sum(axis=1))
    return float(-right.mean() / np.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="scribe.onnx")
    parser.add_argument("--quantize", choices=WEIGHTS, default="int8")
    asked = parser.parse_args()
    _, held = load()
    with tempfile.TemporaryDirectory() as folder:
        step = built(HERE / asked.network, asked.quantize, Path(folder))
        print(f"{asked.network}: {bits(step, held):.4f} bits per symbol on {len(held) - 1:,} symbols")


if __name__ == "__main__":
    main()
