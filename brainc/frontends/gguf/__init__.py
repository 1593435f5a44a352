"""Language models in GGUF files.

`load` gives the graph of a decoder: see `decoder.py`. What a file leaves open is given like the sizes of symbolic axes:

    context   positions that it remembers (default: what it was trained for, at most 2,048)
    block     tokens that it reads at a time (64)
    kv        bits of a number that it remembers: 16 or 8 (16)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brainc.errors import ModelError
from brainc.frontends.gguf import reader
from brainc.frontends.gguf.decoder import KINDS, Sizes, decoder
from brainc.frontends.gguf.facts import facts_of
from brainc.frontends.gguf.vocabulary import chat_of, vocabulary_of
from brainc.ir import Graph
from brainc.language import Language

KIND = "gguf"
SUFFIXES = (".gguf",)
MAX_FILE = 1 << 40  # files are mapped
NAMED = True  # weights as in the file, values after them
CONTEXT, BLOCK = 2048, 64
KNOWN = ("context", "block", "kv")


def load(path: Path, name: str, shapes: Mapping[str, int]) -> Graph:
    """The decoder in `path` as a graph called `name`, with the entries prefill and decode."""
    header = reader.read(path)
    return decoder(header, name, sizes(facts_of(header).trained, shapes))


def language(path: Path, shapes: Mapping[str, int]) -> Language:
    """What the model in `path` knows besides its graph."""
    header = reader.read(path)
    chosen = sizes(facts_of(header).trained, shapes)
    vocabulary = vocabulary_of(header)
    rows = header.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in header.tensors else 0
    if len(vocabulary.pieces) > rows:
        what = f"the vocabulary has {len(vocabulary.pieces):,} tokens, the model {rows:,}"
        raise ModelError(what, fix="convert the model once more")
    chat, remark = chat_of(header, vocabulary)
    return Language(chosen.context, chosen.block, vocabulary, chat, (remark,) if remark else ())


def sizes(trained: int, shapes: Mapping[str, int]) -> Sizes:
    """What the user chose; ModelError where it cannot be."""
    for key in shapes:
        if key not in KNOWN:
            raise ModelError(f"a language model has no size {key}", fix=f"it has {', '.join(KNOWN)}")
    context, block, bits = (shapes.get(k, d) for k, d in zip(KNOWN, (min(trained, CONTEXT), BLOCK, 16), strict=True))
    if not 1 <= context <= trained:
        raise ModelError(f"the model was trained for {trained:,} positions, not {context:,}", fix="choose fewer")
    if block < 1:
        raise ModelError(f"a block of {block:,} tokens reads nothing", fix="choose 2 or more, or leave it out")
    if bits not in KINDS:
        raise ModelError(f"keys and values of {bits} bits are not known", fix="choose kv=16 or kv=8")
    return Sizes(context, max(2, min(block, context)), bits)
