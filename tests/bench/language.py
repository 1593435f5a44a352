"""A language model beside llama.cpp: rates in one run, or how well both foretell a text.

    python tests/bench/language.py rates MODEL.gguf … [--threads 1 2] [--kv q16] [--isa avx2]
    python tests/bench/language.py text MODEL.gguf … --text FILE [--bytes 20000]

llama.cpp is `llama-cpp-python`, built from its source for this machine (CMAKE_ARGS=-DGGML_NATIVE=ON pip install
--no-binary :all: llama-cpp-python); BRAINC_LLAMA_PYTHON names a Python that has it, if it is not this one. The two
take turns, one measurement each; rates and ratios are medians of five rounds. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import brainc
from brainc import speak
from brainc.cli_language import sizes
from brainc.compiler import Request
from brainc.native import Speaker

PYTHON = os.environ.get("BRAINC_LLAMA_PYTHON", sys.executable)
TARGET, ROUNDS = "x86-avx2", 5
WINDOW = 1024  # tokens that are foretold from one empty start, behind the token that a text begins with

_RATES = """
import json, sys, time
import llama_cpp as L
asked = json.loads(sys.stdin.readline())
models = [L.Llama(asked["model"], n_ctx=1100, n_batch=512, n_ubatch=512, n_threads=asked["threads"],
                  n_threads_batch=asked["threads"], flash_attn=flash, verbose=False) for flash in (False, True)]
for line in sys.stdin:
    flash, before, parts = json.loads(line)
    model = models[flash]
    model.reset()
    model.n_tokens = 0
    if before: model.eval(before)
    began = time.perf_counter()
    for part in parts: model.eval(part)
    print(time.perf_counter() - began, flush=True)
"""

_TEXT = """
import json, sys
import numpy as np
import llama_cpp as L
asked = json.load(sys.stdin)
windows = asked["windows"]
model = L.Llama(asked["model"], n_ctx=max(map(len, windows)), n_threads=1, logits_all=True, verbose=False)
loss = count = 0
for part in windows:
    model.reset(); model.n_tokens = 0
    model.eval(part)
    x = np.array(model.scores[: len(part) - 1], np.float64)
    x -= x.max(axis=1, keepdims=True)
    right = x[np.arange(len(part) - 1), part[1:]] - np.log(np.exp(x).sum(axis=1))
    loss -= right.sum(); count += len(right)
print(json.dumps(float(np.exp(loss / count))))
"""


def llama(script: str, **asked: Any) -> Any:
    done = subprocess.run([PYTHON, "-c", script], input=json.dumps(asked).encode(), capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode()[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Task:
    """What is timed: reading tokens at once, or one after the other, behind `depth` others."""

    name: str
    depth: int
    tokens: int
    at_once: bool

    def parts(self, size: int) -> tuple[list[int], list[list[int]]]:
        """What stands before, and what each call reads; `size` tokens are in the vocabulary."""
        before, some = [[(i * 7919 + 13) % size for i in range(n)] for n in (self.depth, self.tokens)]
        return before, [some] if self.at_once else [[token] for token in some]


TASKS = (
    Task("reads 512 tokens", 0, 512, at_once=True),
    Task("writes behind 0 tokens", 0, 128, at_once=False),
    Task("writes behind 512 tokens", 512, 128, at_once=False),
)
Run = Callable[[Task], float]


@contextmanager
def ours(request: Request, threads: int) -> Iterator[tuple[int, Run]]:
    """Tokens of the vocabulary, and what times our brain in this process."""
    path = speak.program(request, TARGET, lambda line: print(line, file=sys.stderr))
    speaker = brainc.load(path.parent, threads=threads, isa=request.isa)
    assert isinstance(speaker, Speaker)

    def run(task: Task) -> float:
        before, parts = task.parts(speaker.tokens)
        speaker.forget()
        if before:
            speaker.read(before)
        began = time.perf_counter()
        for part in parts:
            speaker.read(part) if task.at_once else speaker.step(part[0])
        return time.perf_counter() - began

    with speaker:
        yield speaker.tokens, run


@contextmanager
def theirs(model: Path, threads: int, size: int) -> Iterator[tuple[Run, Run]]:
    """What times llama.cpp, a process of its own, without and with its flash attention."""
    with subprocess.Popen([PYTHON, "-c", _RATES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:

        def say(words: object) -> None:
            assert child.stdin
            print(json.dumps(words), file=child.stdin, flush=True)

        def run(task: Task, flash: bool) -> float:
            assert child.stdout
            say([flash, *task.parts(size)])
            return float(child.stdout.readline() or sys.exit("llama.cpp failed"))

        say({"model": str(model), "threads": threads})
        yield lambda task: run(task, False), lambda task: run(task, True)


def rates(model: Path, threads: int, kv: str, isa: str | None) -> None:
    """A table of ours, theirs and the ratio: of their two ways the one that is quicker at a task."""
    request = Request(model, shapes=sizes(None, kv), isa=isa)
    with ours(request, threads) as (size, us), theirs(model, threads, size) as others:
        for run in (us, *others):
            run(TASKS[1])  # once for the caches
        spent = np.array([[[run(task) for run in (us, *others)] for task in TASKS] for _ in range(ROUNDS)])
    print(f"\n{model.name}, {threads} threads, {kv} | brainc | llama.cpp | ratio\n|---|---|---|---|")
    for i, task in enumerate(TASKS):
        middle = np.median(spent[:, i], axis=0)
        best = 1 + int(middle[1:].argmin())
        ratio = np.median(spent[:, i, best] / spent[:, i, 0])
        print(f"| {task.name} | {task.tokens / middle[0]:.1f} | {task.tokens / middle[best]:.1f} | **{ratio:.2f}** |")
    more = np.median(spent[:, 2] - spent[:, 1], axis=0) / TASKS[1].tokens * 1000
    print(f"| more a token behind 512, ms | {more[0]:.2f} | {more[1]:.2f}, {more[2]:.2f} | |", flush=True)


def foretold(speaker: Speaker, windows: list[list[int]]) -> float:
    """The perplexity of tokens, in windows that are read from an empty start."""
    loss, count = 0.0, 0
    for part in windows:
        speaker.forget()
        for token, following in pairwise(part):
            x = speaker.step(token).astype(np.float64)
            x -= x.max()
            loss, count = loss - x[following] + np.log(np.exp(x).sum()), count + 1
    return float(np.exp(loss / count))


def text(model: Path, data: str) -> None:
    program = speak.program(Request(model), TARGET, lambda line: print(line, file=sys.stderr))
    speaker = brainc.load(program.parent)
    assert isinstance(speaker, Speaker)
    with speaker:
        begin, tokens = speaker.tokenize(""), speaker.tokenize(data, ends=False)
        windows = [begin + tokens[i : i + WINDOW] for i in range(0, len(tokens), WINDOW)]
        mine = foretold(speaker, windows)
    peer = llama(_TEXT, model=str(model), windows=windows)
    print(f"| {model.name} | {len(tokens):,} tokens | {mine:.4f} | {peer:.4f} | {100 * (mine / peer - 1):+.2f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "text"))
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--kv", choices=("q16", "q8"), default="q16")
    parser.add_argument("--isa")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--bytes", type=int, default=20_000)
    asked = parser.parse_args()
    if asked.what == "text" and not asked.text:
        parser.error("text: name the file to foretell with --text FILE")
    for model in asked.models:
        if asked.what == "text":
            text(model, asked.text.read_text(encoding="utf-8")[: asked.bytes])
        for threads in asked.threads if asked.what == "rates" else ():
            rates(model, threads, asked.kv, asked.isa)


if __name__ == "__main__":
    main()
