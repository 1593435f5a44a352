"""What a GGUF file says of its tokens and of conversations.

Knocks: the frontend, with a header. Leaves: a `Vocabulary` whose tables agree with each other, and a `Language`;
ModelError where they do not, UnsupportedError names a kind of vocabulary that brainc has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainc.errors import ModelError, UnsupportedError
from brainc.frontends.gguf.chat_template import reduced
from brainc.frontends.gguf.reader import Header
from brainc.language import ChatFormat, Vocabulary
from brainc.vocabulary_section import splitter

KINDS = {b"gpt2": "bpe", b"llama": "spm"}
_FIX = "convert the model once more"
_MOST, _LONGEST = 1 << 20, 1024  # tokens, or merges; bytes of a token, see templates/runtime/talk.c
NONE = (-1, 0xFFFFFFFF)  # in the place of a token


def vocabulary_of(header: Header) -> Vocabulary:
    """The vocabulary in a header."""
    meta = _Meta(header.meta)
    word = meta.text("model")
    if word not in KINDS:
        fix = "choose a model with one of " + ", ".join(k.decode() for k in KINDS)
        raise UnsupportedError(f"the vocabulary is of kind {word.decode('utf-8', 'replace')!r}", fix=fix)
    kind, pre = KINDS[word], meta.text("pre", b"").decode("utf-8", "replace")
    pieces = meta.texts("tokens")
    count = len(pieces)
    merges = meta.texts("merges") if kind == "bpe" else ()
    if not count:
        raise ModelError("the vocabulary is empty", fix=_FIX)
    if max(count, len(merges)) > _MOST:
        what = f"the vocabulary has {count:,} tokens and {len(merges):,} merges, more than {_MOST:,}"
        raise ModelError(what, fix=_FIX)
    long = next((i for i, piece in enumerate(pieces) if len(piece) > _LONGEST), None)
    if long is not None:
        raise ModelError(f"token {long} is longer than {_LONGEST:,} bytes", fix=_FIX)
    scores = meta.numbers("scores", count, np.float32, 0.0 if kind == "bpe" else None)
    types = meta.numbers("token_type", count, np.int32, 1)
    if not np.isfinite(scores).all():
        raise ModelError("a token has a score that is no number", fix=_FIX)
    return Vocabulary(
        kind=kind,
        pre=pre,
        pieces=pieces,
        scores=scores,
        types=types,
        merges=merges,
        bos=meta.token("bos_token_id", count, 11 if kind == "bpe" else 1),
        eos=meta.token("eos_token_id", count, 11 if kind == "bpe" else 2),
        eot=meta.token("eot_token_id", count, None),
        unk=meta.token("unknown_token_id", count, None if kind == "bpe" else 0),
        add_bos=meta.flag("add_bos_token", kind == "spm" or splitter(pre).adds_bos),
        add_eos=meta.flag("add_eos_token", False),
        add_space_prefix=meta.flag("add_space_prefix", kind == "spm"),
    )


def chat_of(header: Header, vocabulary: Vocabulary) -> tuple[ChatFormat | None, str]:
    """(how conversations are written, or None; a remark)."""
    template = header.meta.get("tokenizer.chat_template")
    if not isinstance(template, bytes):
        return None, "cannot chat, only continue texts: it has no chat template"
    ends = {"bos_token": vocabulary.bos, "eos_token": vocabulary.eos}
    words = {k: "" if t is None else vocabulary.pieces[t].decode("utf-8", "replace") for k, t in ends.items()}
    return reduced(template.decode("utf-8", "replace"), words)


class _Meta:
    """The settings of the tokenizer, each held to be what it should."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.meta = {k.removeprefix("tokenizer.ggml."): v for k, v in meta.items() if k.startswith("tokenizer.ggml.")}

    def _wrong(self, key: str, found: object) -> ModelError:
        told = "is missing" if found is None else f"is {str(found)[:60]}"
        return ModelError(f"tokenizer.ggml.{key} {told}", fix=_FIX)

    def text(self, key: str, default: bytes | None = None) -> bytes:
        found = self.meta.get(key, default)
        if not isinstance(found, bytes):
            raise self._wrong(key, found)
        return found

    def texts(self, key: str) -> tuple[bytes, ...]:
        found = self.meta.get(key)
        if not isinstance(found, tuple) or not all(isinstance(text, bytes) for text in found):
            raise self._wrong(key, found)
        return found

    def numbers(self, key: str, count: int, dtype: type, default: float | None) -> Any:
        """One for each token."""
        found = self.meta.get(key)
        if found is None and default is not None:
            return np.full(count, default, dtype)
        kinds = "f" if dtype is np.float32 else "iu"
        if not isinstance(found, np.ndarray) or found.dtype.kind not in kinds or len(found) != count:
            raise self._wrong(key, None if found is None else f"not one number for each of {count} tokens")
        with np.errstate(over="ignore"):
            return found.astype(dtype)

    def token(self, key: str, count: int, default: int | None) -> int | None:
        """A token's number; None where there is none (the file may say so by 2^32 - 1)."""
        found = self.meta.get(key)
        if found is None:
            return default if default is not None and default < count else None
        if not isinstance(found, int) or isinstance(found, bool) or not (found in NONE or 0 <= found < count):
            raise self._wrong(key, found)
        return None if found in NONE else found

    def flag(self, key: str, default: bool) -> bool:
        found = self.meta.get(key, default)
        if not isinstance(found, bool):
            raise self._wrong(key, found)
        return found
