"""Decoders out of GGUF files: llama.cpp's logits on the same files, and the same bits read at once or token by token.

Where weights are reals, the two differ by less than 1 % (relative root mean square). Where they are in blocks, both
round what goes into every layer to 8 bits, each a little differently: then brainc must lie as near to exact arithmetic
on the same weights as llama.cpp does, which is 1 to 4 % on models as small as these.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import gguf_files
import llama
import numpy as np
import pytest

from brainc import interp
from brainc.dtypes import F32, Array
from brainc.frontends import gguf
from brainc.frontends.gguf.blocks import constant
from brainc.frontends.gguf.reader import Header
from brainc.ir import Graph, Value, const_value
from brainc.ops._blocks import REALS, reals

decoder = importlib.import_module("brainc.frontends.gguf.decoder")  # the module, not its function
TOKENS = (72, 101, 108, 108, 111, 32, 119, 5, 200, 17)
BLOCK = 16
FILES = [(a, k) for a in gguf_files.ARCHITECTURES for k in gguf_files.KINDS]
NEAR, NO_FARTHER = 0.01, 1.25


def apart(a: Array, b: Array) -> float:
    """The root mean square of a - b, relative to that of b."""
    return float(np.sqrt(np.square(a - b).mean() / np.square(b).mean()))


def logarithms(logits: Array) -> Array:
    """Of the probabilities that logits stand for, float64."""
    wide = logits.astype(np.float64) - logits.max()
    return np.asarray(wide - np.log(np.exp(wide).sum()))


def by_token(graph: Graph) -> Array:
    """The logits behind each token, decoded one after the other."""
    state, rows = interp.fresh_state(graph), []
    for at, token in enumerate(TOKENS):
        inputs = {"token": np.array([token], np.int32), "pos": np.array([at], np.int32)}
        rows.append(interp.run(graph, "decode", inputs, state)["decode/logits"][0])
    return np.array(rows)


def at_once(graph: Graph, parts: tuple[int, ...], text: tuple[int, ...] = TOKENS) -> Array:
    """The logits behind the last token, read in parts of these sizes."""
    state, at = interp.fresh_state(graph), 0
    for count in parts:
        tokens = np.zeros(BLOCK, np.int32)
        tokens[:count] = text[at : at + count]
        inputs = {"tokens": tokens, "pos": np.array([at], np.int32), "count": np.array([count], np.int32)}
        found, at = interp.run(graph, "prefill", inputs, state), at + count
    return found["prefill/logits"][0]


def exact(path: Path, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """The same decoder on the reals that its weights stand for: nothing is rounded to 8 bits on the way."""

    def widened(header: Header, name: str) -> Value:
        found = constant(header, name)
        return found if found.type.dtype in REALS else const_value(name, reals(found.array()), F32)

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "constant", widened)
        return gguf.load(path, "m", {"block": BLOCK})


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], tuple[Path, Array]]:
    """Every file, and llama.cpp's logits on it."""
    llama.python()
    folder = tmp_path_factory.mktemp("gguf")
    paths = [gguf_files.write(folder / f"{a}.{k}.gguf", a, k, tied=a != "qwen3") for a, k in FILES]
    return dict(zip(FILES, zip(paths, llama.logits(paths, TOKENS), strict=True), strict=True))


@pytest.mark.parametrize(("architecture", "kind"), FILES)
def test_logits_are_llama_cpps(architecture: str, kind: str, theirs, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path, wanted = theirs[architecture, kind]
    graph = gguf.load(path, "m", {"block": BLOCK})
    found = by_token(graph)
    if kind in ("F32", "F16", "BF16"):
        assert apart(found, wanted) < NEAR
        return
    truth = by_token(exact(path, monkeypatch))
    assert apart(wanted, truth) < 0.06  # else the graph means something else
    assert apart(found, truth) < NO_FARTHER * apart(wanted, truth) + 1e-4


def test_positions_may_be_stretched(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "long.gguf", "llama", "F16", rope_factor=4.0)
    (wanted,) = llama.logits([path], TOKENS)
    assert apart(by_token(gguf.load(path, "m", {})), wanted) < NEAR


@pytest.mark.parametrize("name", ["SmolLM2-135M-Instruct.Q8_0", "gemma-3-270m-it.Q4_K_M"])
def test_a_real_model(name: str) -> None:
    """Behind a short sentence the next token is as likely as in llama.cpp (their Kullback-Leibler divergence is below
    0.03; one sentence's logits may differ by 10 %), and the likeliest token is the same."""
    path = Path(os.environ.get("BRAINC_LLM", ""), f"{name}.gguf")
    if not path.is_file():
        pytest.skip(f"no {name}.gguf: set BRAINC_LLM to a folder that has it")
    sentence = (504, 3575, 282, 4649, 314) if name.startswith("Smol") else (2, 818, 5279, 529, 7001, 563)
    (wanted,) = llama.logits([path], sentence)
    found = at_once(gguf.load(path, "m", {"block": BLOCK, "context": 64}), (len(sentence),), sentence)
    likely = logarithms(wanted[-1])
    assert float(np.sum(np.exp(likely) * (likely - logarithms(found)))) < 0.03
    assert found.argmax() == wanted[-1].argmax()


@pytest.mark.parametrize(("architecture", "kind"), [(a, k) for a, k in FILES if k in ("Q4_1", "Q6_K", "BF16")])
@pytest.mark.parametrize("kv", [16, 8])
def test_reading_at_once_is_reading_token_by_token(architecture: str, kind: str, kv: int, tmp_path: Path) -> None:
    if kv == 8 and gguf_files.sizes_for(kind).width % 32:
        pytest.skip("heads too odd for caches of 8 bits")
    path = gguf_files.write(tmp_path / "m.gguf", architecture, kind)
    graph = gguf.load(path, "m", {"block": BLOCK, "kv": kv})
    last = by_token(graph)[-1].view(np.uint32)
    for parts in ((10,), (3, 7), (1, 8, 1)):
        np.testing.assert_array_equal(at_once(graph, parts).view(np.uint32), last)
