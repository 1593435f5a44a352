"""Types text as the sketch does: the brain, compiled for this computer, draws one letter after the other.

    python examples/scribe/write.py "in the beginning" --seed 7 --temperature 0.7
    python examples/scribe/write.py "in the beginning" --uno    # and proves that an Uno types the same

For `--uno` the firmware runs in a simulator and is fed the symbols of that text. If it answers each with the one that
comes next, it would have typed this text by itself. Exit code 4: it would not.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from corpus import SYMBOLS

from brainc import check, toolchain
from brainc.compiler import Request, compile_job, prepare
from brainc.dtypes import Array
from brainc.emit import emit
from brainc.program import Program

BRAIN = Request(Path(__file__).resolve().parent)
RAM = 4096  # bytes, more than its state and scratch
DIFFERENT = 4


def numbers(text: str) -> list[int]:
    """Its symbols, after the end of a line; what the scribe does not know becomes a space."""
    return [0] + [SYMBOLS.index(c if c in SYMBOLS else " ") for c in text.lower()]


def heat(temperature: float) -> int:
    """In 64ths, as the sampler takes it."""
    return int(temperature * 64 + 0.5)


@cache
def compiled(target: str) -> Program:
    """The brain for a machine."""
    return compile_job(prepare(BRAIN, target))


@cache
def loaded() -> ctypes.CDLL:
    """The brain as C for this computer, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        bundle, library = emit(compiled("c99")), Path(folder) / "scribe.so"
        toolchain.write(Path(folder), bundle)
        sources = [Path(folder) / name for name in bundle if name.endswith(".c")]
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", *sources, "-o", library, "-lm"], check=True)
        return ctypes.CDLL(str(library))


def symbols(prompt: str, seed: int, temperature: float) -> Iterator[int]:
    """What this computer writes after `prompt`, without end."""
    code, brain = loaded(), ctypes.create_string_buffer(RAM)
    code.scribe_init(brain)
    following = ctypes.c_int32()

    def step(symbol: int, start: int) -> int:
        given = (ctypes.byref(ctypes.c_int32(x)) for x in (symbol, heat(temperature), start))
        code.scribe_step(brain, *given, ctypes.byref(following))
        return following.value

    first, *more = numbers(prompt)
    step(first, seed)
    for symbol in more:
        step(symbol, 0)
    while True:
        yield following.value
        step(following.value, 0)


def vectors(prompt: str, written: Sequence[int], seed: int, temperature: float) -> dict[str, Array]:
    """The inputs of every step on the way to the last symbol of `written`."""
    token = np.array([*numbers(prompt), *written[:-1]], np.int32)[:, None]
    start = np.zeros_like(token)
    start[0] = seed
    return {"token": token, "temperature": np.full_like(token, heat(temperature)), "seed": start}


def answers(target: str, inputs: dict[str, Array]) -> list[int]:
    """What a machine would write next after each symbol that it is fed."""
    program = compiled(target)
    steps = check.from_bytes(program.graph, check.execute(program, inputs).outputs, len(inputs["token"]))
    return [int(step["next"].item()) for step in steps]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="", help="the beginning; without one it begins by itself")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same text; not 0")
    parser.add_argument("--temperature", type=float, default=0.7, help="0: the likeliest letter always; 1: as likely")
    parser.add_argument("--length", type=int, default=400, help="symbols to write")
    parser.add_argument("--uno", action="store_true", help="compare with a simulated Uno")
    asked = parser.parse_args()
    written = list(islice(symbols(asked.prompt, asked.seed, asked.temperature), asked.length))
    print(asked.prompt + "".join(SYMBOLS[symbol] for symbol in written))
    if not asked.uno or not written:
        return 0
    inputs = vectors(asked.prompt, written, asked.seed, asked.temperature)
    equal = answers("uno", inputs)[-len(written) :] == written
    print(f"A simulated Uno types {'the same' if equal else 'SOMETHING ELSE'}.")
    return 0 if equal else DIFFERENT


if __name__ == "__main__":
    sys.exit(main())
