"""A language model beside llama.cpp: rates in one run, or how well both foretell a text.

    python tests/bench/language.py rates MODEL.gguf … [--threads 1 2] [--kv f16] [--isa avx2]
    python tests/bench/language.py text MODEL.gguf … --text FILE [--bytes 20000]

llama.cpp is `llama-cpp-python`, built from its source for this machine (CMAKE_ARGS=-DGGML_NATIVE=ON pip install
--no-binary :all: llama-cpp-python); BRAINC_LLAMA_PYTHON names a Python that has it, if it is not this one. Rates are
medians of five; the two take turns. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
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
TARGET, DEPTHS = "x86-avx2", (0, 512)
WINDOW = 1024  # tokens that are foretold from one empty start

_RATES = """
import ctypes, json, sys, time
import llama_cpp as L
asked = json.load(sys.stdin)
model = L.Llama(asked["model"], n_ctx=1100, n_batch=512, n_ubatch=512, n_threads=asked["threads"],
                n_threads_batch=asked["threads"], flash_attn=asked["flash"], verbose=False)
size = model.n_vocab()
some = [(i * 7919 + 13) % size for i in range(512)]
def fill(n):
    model.reset(); model._ctx.kv_cache_clear() if hasattr(model._ctx, "kv_cache_clear") else None
    model.n_tokens = 0
    if n: model.eval(some[:n])
def median(times): return sorted(times)[len(times) // 2]
found = {"decode": {}}
times = []
for _ in range(5):
    fill(0); began = time.perf_counter(); model.eval(some); times.append(time.perf_counter() - began)
found["prefill"] = 512 / median(times)
for depth in asked["depths"]:
    times = []
    for _ in range(5):
        fill(depth); began = time.perf_counter()
        for j in range(128): model.eval([j * 31 % size])
        times.append(time.perf_counter() - began)
    found["decode"][depth] = 128 / median(times)
print(json.dumps(found))
"""

_TEXT = """
import json, sys
import numpy as np
import llama_cpp as L
asked = json.load(sys.stdin)
model = L.Llama(asked["model"], n_ctx=asked["window"], n_threads=1, logits_all=True, verbose=False)
loss = count = 0
for start in range(0, len(asked["tokens"]), asked["window"]):
    part = asked["tokens"][start : start + asked["window"]]
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


def rates(model: Path, threads: int, kv: str, isa: str | None) -> None:
    """A table of ours, theirs and the ratio."""
    request = Request(model, shapes=sizes(None, kv), isa=isa)
    ours = speak.figures(request, TARGET, threads, DEPTHS, lambda line: print(line, file=sys.stderr))
    both = [llama(_RATES, model=str(model), threads=threads, depths=DEPTHS, flash=flash) for flash in (False, True)]
    print(f"\n{model.name}, {threads} threads, {ours['isa']}, {kv} | brainc | llama.cpp | ratio\n|---|---|---|---|")
    prefill = ours["entries"]["prefill"]["tokens_per_second"]
    theirs = max(one["prefill"] for one in both)
    print(f"| reads 512 tokens, tokens a second | {prefill:.1f} | {theirs:.1f} | **{prefill / theirs:.2f}** |")
    decode = {at["depth"]: at["tokens_per_second"] for at in ours["entries"]["decode"]}
    for depth in DEPTHS:
        theirs = max(one["decode"][str(depth)] for one in both)
        mine = decode[depth]
        print(f"| writes behind {depth} tokens | {mine:.1f} | {theirs:.1f} | **{mine / theirs:.2f}** |")
    extra = [1000 / decode[512] - 1000 / decode[0], 1000 / both[1]["decode"]["512"] - 1000 / both[1]["decode"]["0"]]
    print(f"| more a token behind 512, ms | {extra[0]:.2f} | {extra[1]:.2f} | |")
    print(f"| start until the first token, ms | {1000 * ours['start_seconds']:.0f} | | |", flush=True)


def foretold(speaker: Speaker, tokens: list[int]) -> float:
    """The perplexity of tokens, in windows that begin empty."""
    loss, count = 0.0, 0
    for start in range(0, len(tokens), WINDOW):
        speaker.forget()
        part = tokens[start : start + WINDOW]
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
        tokens = speaker.tokenize(data, ends=False)
        mine = foretold(speaker, tokens)
    theirs = llama(_TEXT, model=str(model), tokens=tokens, window=WINDOW)
    print(f"| {model.name} | {len(tokens):,} tokens | {mine:.4f} | {theirs:.4f} | {100 * (mine / theirs - 1):+.2f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "text"))
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--kv", choices=("f16", "q8"), default="f16")
    parser.add_argument("--isa")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--bytes", type=int, default=20_000)
    asked = parser.parse_args()
    for model in asked.models:
        if asked.what == "text":
            text(model, asked.text.read_text(encoding="utf-8")[: asked.bytes])
        for threads in asked.threads if asked.what == "rates" else ():
            rates(model, threads, asked.kv, asked.isa)


if __name__ == "__main__":
    main()
