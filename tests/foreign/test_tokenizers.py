"""Tokenizers beside llama.cpp's on the same vocabularies: no token differs, whatever the text.

llama.cpp is found as tests/llama.py says, models by BRAINC_LLM, a folder with GGUF files. The small vocabularies here
hold pieces cut out of the texts at random, across all borders of words, so that a wrong cut shows.

Hugging Face `tokenizers`, built from the same vocabulary and merges, differs where
- the apostrophe of qwen2 and llama3 is followed by U+017F: case folding takes it for an s, llama.cpp does not;
- a character is assigned, or is of another category, in a later Unicode than 15.1;
- a merge makes what is no token: `tokenizers` refuses such a file, so here each has a token;
- pieces have the same score: llama.cpp merges the leftmost first, merges have an order, so here no two have;
- a text has lone surrogates or bytes that are no UTF-8: they cannot be given to it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import llama
import numpy as np
import pytest
from tokenizing import ENDS, SPECIAL, Tokenizer, nasty_texts, random_text, runtime_library, unicode_runs, vocabulary

from brainc.frontends.gguf.reader import read as gguf_header
from brainc.frontends.gguf.vocabulary import vocabulary_of
from brainc.language import Vocabulary
from brainc.vocabulary_section import BYTE_OF

BYTES = [b"<0x%02X>" % b for b in range(256)]
PRES = ("gpt-2", "smollm", "qwen2", "llama-bpe", "default", "dbrx")
CHAR_OF = {ord(byte): chr(char) for char, byte in BYTE_OF.items() if byte != "\u0100"}


@dataclass(frozen=True)
class Peer:
    """What llama.cpp says: tokens of each text, the text of each token shown and hidden, and what ends."""

    ids: list[list[int]]
    pieces: list[bytes]
    hidden: list[bytes]
    ends: list[int]


def peer(path: Path, asked: list[tuple[bytes, int]]) -> Peer:
    """Its answers to texts with flags."""
    requests = json.dumps([[text.hex(), bool(flags & ENDS), bool(flags & SPECIAL)] for text, flags in asked])
    command = [llama.python(), str(Path(__file__).with_name("llama_tokens.py")), str(path)]
    done = subprocess.run(command, input=requests, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    pieces, hidden = ([bytes.fromhex(piece) for piece in said[key]] for key in ("pieces", "hidden"))
    return Peer(said["ids"], pieces, hidden, said["ends"])


@cache
def texts() -> tuple[bytes, ...]:
    """1,000 random ones and 200 nasty ones."""
    nasty = nasty_texts()
    assert len(nasty) >= 200
    return tuple(t.encode("utf-8", "surrogatepass") for t in (*map(random_text, range(1000)), *nasty))


def written(bytes_: bytes) -> bytes:
    """Bytes as "bpe" writes them."""
    return bytes_.decode("latin-1").translate(CHAR_OF).encode()


def cuttings(count: int, seed: int) -> list[bytes]:
    """Short pieces of the texts."""
    rng, joined = random.Random(seed), b" ".join(texts())
    starts = [rng.randrange(len(joined)) for _ in range(count)]
    return [joined[s : s + rng.randrange(2, 8)] for s in starts]


SPECIALS = {
    b"<|im_start|>": 3,
    b"<s>": 3,
    b"</s>": 3,
    b"<unk>": 2,
    b"<b>": 4,
    b"  ": 4,
    b"\n\n": 4,
    b"\n\n\n": 4,
    b"!": 4,
}


def pair_vocabulary(pre: str, seed: int = 1) -> Vocabulary:
    """Pairs at random; every twentieth thing that a merge makes, and two bytes, are no tokens."""
    merges = dict[bytes, None]()
    made = [written(bytes([b])) for b in range(256) if b not in b"\x07q"]
    for number, text in enumerate(cuttings(4000, seed)):
        for end in range(1, len(text)):
            merges[written(text[:end]) + b" " + written(text[end : end + 1])] = None
            made += [written(text[: end + 1])] if number % 20 else []
    pieces = list(dict.fromkeys([*made, *SPECIALS]))
    types = np.array([SPECIALS.get(piece, 1) for piece in pieces], np.int32)
    bos = pieces.index(b"<s>")
    return vocabulary("bpe", pieces, pre=pre, types=types, merges=tuple(merges), bos=bos, eos=bos + 1, add_bos=True)


def score_vocabulary(space: bool) -> Vocabulary:
    """Characters in a row at random, some of the same score, and all bytes. llama.cpp ends a piece at a NUL."""
    words = [t.decode("utf-8", "ignore").replace(" ", "\u2581").replace("\0", "").encode() for t in cuttings(6000, 2)]
    plain = dict.fromkeys(w[:end].decode("utf-8", "ignore").encode() for w in words for end in range(1, len(w) + 1))
    pieces = list(dict.fromkeys([*SPECIALS, *BYTES, *filter(None, plain)]))
    types = np.array([SPECIALS.get(p, 6 if p in BYTES else 1) for p in pieces], np.int32)
    scores = np.random.default_rng(3).integers(-500, 0, len(pieces)).astype(np.float32)
    return vocabulary(
        "spm",
        pieces,
        types=types,
        scores=scores,
        bos=1,
        eos=2,
        unk=3,
        add_bos=True,
        add_eos=True,
        add_space_prefix=space,
    )


def write(vocabulary: Vocabulary, path: Path) -> Path:
    """The vocabulary as a GGUF file without tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model({"bpe": "gpt2", "spm": "llama"}[vocabulary.kind])
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.pieces))
    writer.add_token_scores(vocabulary.scores.tolist())
    writer.add_token_types(vocabulary.types.tolist())
    if vocabulary.merges:
        writer.add_token_merges(list(vocabulary.merges))  # type: ignore[arg-type]
    for add, token in (
        (writer.add_bos_token_id, vocabulary.bos),
        (writer.add_eos_token_id, vocabulary.eos),
        (writer.add_unk_token_id, vocabulary.unk),
    ):
        if token is not None:
            add(token)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def agree(path: Path, asked: tuple[bytes, ...], folder: Path) -> None:
    """Every text in every way, and the text of every token, with the vocabulary of a file."""
    tokenizer = Tokenizer(runtime_library(folder), vocabulary_of(gguf_header(path)))
    every = [(text, flags) for flags in range(4) for text in asked]
    said = peer(path, every)
    differing = [one for one, want in zip(every, said.ids, strict=True) if tokenizer.ids(*one) != want]
    assert not differing, f"{len(differing)} texts differ, the first is {differing[0]!r}"
    tokens = range(len(said.pieces))
    assert [tokenizer.piece(token, True) for token in tokens] == said.pieces
    assert [tokenizer.piece(token) for token in tokens] == said.hidden
    assert [token for token in tokens if tokenizer.ends(token)] == said.ends


@pytest.mark.parametrize("pre", PRES)
def test_pairs_as_llama_cpp(pre: str, tmp_path: Path) -> None:
    agree(write(pair_vocabulary(pre), tmp_path / "v.gguf"), texts(), tmp_path)


@pytest.mark.parametrize("space", [False, True])
def test_scores_as_llama_cpp(space: bool, tmp_path: Path) -> None:
    agree(write(score_vocabulary(space), tmp_path / "v.gguf"), texts(), tmp_path)


@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_bytes_that_are_no_text_as_llama_cpp(kind: str, tmp_path: Path) -> None:
    """All but what would be a character above U+10FFFF: llama.cpp ends with an exception there, for "bpe"."""
    made = pair_vocabulary("llama-bpe") if kind == "bpe" else score_vocabulary(True)
    rng = random.Random(5)
    spoilt = [bytearray(rng.choice(texts()) or b" ") for _ in range(500)]
    for text in spoilt:
        for _ in range(rng.randrange(1, 9)):
            text[rng.randrange(len(text))] = rng.choice((rng.randrange(0xF4), 0xC0, 0xE0, 0xED, 0xF0, 0xF8, 0xFF))
        text[:] = text[: rng.randrange(len(text) + 1)]
    agree(write(made, tmp_path / "v.gguf"), tuple(map(bytes, spoilt)), tmp_path)


def test_every_character_is_of_llama_cpps_kind(tmp_path: Path) -> None:
    """A character merges with the letter, the number, the mark behind it only where it is one of them."""
    singles = [bytes([b]) for b in range(256)]
    pairs = [(bytes([b]), bytes([c])) for b in (*range(0x21, 0x7F), *range(0x80, 0xC0)) for c in b"a1%"]
    pieces = dict.fromkeys([written(s) for s in singles] + [written(left + right) for left, right in pairs])
    merges = tuple(written(left) + b" " + written(right) for left, right in pairs)
    runs = {run >> 3 for run in unicode_runs(runtime_library(tmp_path))}
    near = {code + step for code in runs for step in (-1, 0, 1)}
    codes = [c for c in range(0x110000) if (c < 0x3100 or c in near or c % 97 == 0) and not 0xD800 <= c < 0xE000]
    lines = [
        "".join(f"{chr(c)}a\n{chr(c)}1\n{chr(c)}%\n" for c in codes[i : i + 256]) for i in range(0, len(codes), 256)
    ]
    asked = [(line.encode(), 0) for line in lines]
    for pre in ("gpt-2", "default"):
        made = vocabulary("bpe", list(pieces), pre=pre, merges=merges)
        tokenizer = Tokenizer(runtime_library(tmp_path), made)
        said = peer(write(made, tmp_path / "v.gguf"), asked)
        assert [text for (text, _), want in zip(asked, said.ids, strict=True) if tokenizer.ids(text) != want] == []


def model_file(name: str) -> Path:
    """A model's file."""
    folder = os.environ.get("BRAINC_LLM")
    found = sorted(Path(folder).glob(f"{name}*.gguf")) if folder else []
    if not found:
        pytest.skip(f"no {name}*.gguf: set BRAINC_LLM to a folder that has it")
    return found[0]


@pytest.mark.parametrize("name", ["SmolLM2-135M-Instruct", "gemma-3-270m-it"])
def test_models_as_llama_cpp(name: str, tmp_path: Path) -> None:
    agree(model_file(name), texts(), tmp_path)


def hugging_face(made: Vocabulary) -> Any:
    """The same vocabulary and merges in `tokenizers`."""
    tokenizers = pytest.importorskip("tokenizers")
    cuts, names = tokenizers.pre_tokenizers, [piece.decode() for piece in made.pieces]
    merges = [tuple(merge.decode().split(" ")) for merge in made.merges]
    model = tokenizers.models.BPE(
        {name: token for token, name in enumerate(names)}, merges, ignore_merges=made.pre == "llama-bpe"
    )
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{NUMBERS}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = {"qwen2": "{1}", "llama-bpe": "{1,3}"}
    tokenizer = tokenizers.Tokenizer(model)
    if made.pre in split:
        regex = tokenizers.Regex(pattern.replace("{NUMBERS}", split[made.pre]))
        before = [cuts.Split(regex, "isolated"), cuts.ByteLevel(add_prefix_space=False, use_regex=False)]
    else:
        before = [cuts.Digits(True)] if made.pre == "smollm" else []
        before += [cuts.ByteLevel(add_prefix_space=False, use_regex=True)]
    tokenizer.pre_tokenizer = cuts.Sequence(before)
    return tokenizer


def unlike(theirs: Any, made: Vocabulary, folder: Path) -> list[str]:
    """The texts (those without lone surrogates) that become other tokens there."""
    ours = Tokenizer(runtime_library(folder), made)
    whole = [text.decode("utf-8", "surrogatepass") for text in texts()]
    asked = [text for text in whole if not any("\ud800" <= c < "\ue000" for c in text)]
    return [text for text in asked if theirs.encode(text).ids != ours.ids(text)]


@pytest.mark.parametrize("pre", PRES[:4])
def test_pairs_as_hugging_face(pre: str, tmp_path: Path) -> None:
    made = pair_vocabulary(pre)
    names = {*made.pieces, *(written(bytes([b])) for b in range(256)), *(m.replace(b" ", b"") for m in made.merges)}
    pieces = sorted(name for name in names if b" " not in name and b"\n" not in name)
    made = replace(made, pieces=tuple(pieces), types=np.ones(len(pieces), np.int32), bos=None, eos=None)
    differing = unlike(hugging_face(made), made, tmp_path)
    assert bool(differing) == (pre in ("qwen2", "llama-bpe"))
    assert [text for text in differing if "'\u017f" not in text] == []


def test_a_model_as_hugging_face(tmp_path: Path) -> None:
    made = vocabulary_of(gguf_header(model_file("SmolLM2-135M-Instruct")))
    assert unlike(hugging_face(made), made, tmp_path) == []


def test_scores_as_hugging_face(tmp_path: Path) -> None:
    """There, every way to make a piece of two others is a merge, in the order of the pieces' scores."""
    tokenizers = pytest.importorskip("tokenizers")
    letters = {c.encode() for t in texts() for c in t.decode("utf-8", "ignore") if c not in " \0"}
    plain = [p for p in score_vocabulary(False).pieces if p not in SPECIALS and p not in BYTES]
    names = [p.decode() for p in dict.fromkeys([b"<unk>", *BYTES, *plain, *sorted(letters)])]
    types = np.array([2, *[6] * 256, *[1] * (len(names) - 257)], np.int32)
    scores = -np.random.default_rng(4).permutation(len(names)).astype(np.float32)
    made = vocabulary("spm", [name.encode() for name in names], types=types, scores=scores, unk=0)
    ids = {name: token for token, name in enumerate(names)}
    ordered = sorted(names, key=lambda name: -scores[ids[name]])
    halves = ((name[:i], name[i:]) for name in ordered for i in range(1, len(name)))
    merges = [(left, right) for left, right in halves if left in ids and right in ids]
    model = tokenizers.models.BPE(ids, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    theirs = tokenizers.Tokenizer(model)
    theirs.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    assert unlike(theirs, made, tmp_path) == []
