"""What a GGUF file says of its tokens: read as llama.cpp reads it, and refused where the tables disagree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest

from brainc.errors import UserError
from brainc.frontends.gguf import language, reader
from brainc.frontends.gguf.reader import Header
from brainc.frontends.gguf.vocabulary import chat_of, vocabulary_of
from brainc.language import Vocabulary

PAIRS: Mapping[str, Any] = {
    "model": b"gpt2",
    "pre": b"qwen2",
    "tokens": (b"a", b"b", b"ab", b"<|end|>"),
    "token_type": np.array([1, 1, 1, 3], np.int32),
    "merges": (b"a b",),
    "bos_token_id": 3,
    "eos_token_id": 3,
}
SCORES: Mapping[str, Any] = {
    "model": b"llama",
    "tokens": (b"<unk>", b"<s>", b"</s>", b"a"),
    "token_type": np.array([2, 3, 3, 1], np.int32),
    "scores": np.array([0, 0, 0, -1.5], np.float32),
}


def read(settings: Mapping[str, Any], **changes: Any) -> Vocabulary:
    """The vocabulary of these settings, with some changed, or taken out (None)."""
    changed = {**settings, **changes}
    meta = {f"tokenizer.ggml.{k}": v for k, v in changed.items() if v is not None}
    return vocabulary_of(Header(meta, {}, np.zeros(0, np.uint8)))


def test_a_vocabulary_of_pairs() -> None:
    found = read(PAIRS)
    assert (found.kind, found.pre, found.pieces, found.merges) == ("bpe", "qwen2", PAIRS["tokens"], (b"a b",))
    assert found.types.tolist() == [1, 1, 1, 3] and found.scores.tolist() == [0.0] * 4
    assert (found.bos, found.eos, found.eot, found.unk) == (3, 3, None, None)
    assert not (found.add_bos or found.add_eos or found.add_space_prefix)


def test_a_vocabulary_of_scores() -> None:
    """llama.cpp's defaults: bos 1, eos 2, unknown 0; a bos and a space come first."""
    found = read(SCORES)
    assert (found.kind, found.bos, found.eos, found.unk, found.merges) == ("spm", 1, 2, 0, ())
    assert found.add_bos and found.add_space_prefix and not found.add_eos
    assert found.scores.tolist() == [0.0, 0.0, 0.0, -1.5]


def test_what_the_file_says_goes_before_what_is_usual() -> None:
    found = read(SCORES, add_bos_token=False, add_eos_token=True, add_space_prefix=False, bos_token_id=2**32 - 1)
    assert (found.bos, found.add_bos, found.add_eos, found.add_space_prefix) == (None, False, True, False)
    assert read(PAIRS, pre=b"llama-bpe").add_bos and not read(PAIRS, pre=b"llama-bpe", add_bos_token=False).add_bos
    assert read(PAIRS, pre=None).pre == ""


@pytest.mark.parametrize(
    ("base", "changes", "told"),
    [
        (PAIRS, {"model": None}, "tokenizer.ggml.model is missing"),
        (PAIRS, {"model": 7}, "tokenizer.ggml.model is 7"),
        (PAIRS, {"model": b"bert"}, "of kind 'bert'"),
        (PAIRS, {"pre": b"martian"}, "martian"),
        (PAIRS, {"tokens": None}, "tokens is missing"),
        (PAIRS, {"tokens": ()}, "empty"),
        (PAIRS, {"tokens": (b"a",) * ((1 << 20) + 1)}, "1,048,577 tokens"),
        (PAIRS, {"tokens": (b"a", b"b" * 1025, b"c", b"d")}, "token 1 is longer than 1,024 bytes"),
        (PAIRS, {"tokens": (b"a" * 1025, b"b", b"c", b"d")}, "token 0 is longer than 1,024 bytes"),
        (PAIRS, {"tokens": np.zeros(4)}, "tokens is"),
        (PAIRS, {"tokens": (b"a", (b"b",), b"c", b"d")}, "tokens is"),
        (PAIRS, {"merges": None}, "merges is missing"),
        (PAIRS, {"merges": (1, 2)}, "merges is"),
        (PAIRS, {"token_type": np.ones(3, np.int32)}, "token_type is not one number for each of 4 tokens"),
        (PAIRS, {"token_type": np.ones(4, np.float32)}, "token_type is not"),
        (PAIRS, {"bos_token_id": 4}, "bos_token_id is 4"),
        (PAIRS, {"eos_token_id": True}, "eos_token_id is True"),
        (PAIRS, {"eot_token_id": -2}, "eot_token_id is -2"),
        (PAIRS, {"eot_token_id": np.arange(3)}, "eot_token_id is"),
        (PAIRS, {"add_bos_token": 1}, "add_bos_token is 1"),
        (SCORES, {"scores": None}, "scores is missing"),
        (SCORES, {"scores": np.zeros(5, np.float32)}, "scores is not one number for each of 4 tokens"),
        (SCORES, {"scores": np.array([0, 0, 0, np.nan], np.float32)}, "no number"),
        (SCORES, {"scores": np.array([0, 0, 0, 1e300])}, "no number"),
    ],
)
def test_tables_that_disagree_are_refused(base: Mapping[str, Any], changes: Mapping[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        read(base, **changes)
    assert caught.value.fix


@pytest.mark.parametrize("template", [None, 7, np.arange(4)])
def test_without_a_template_there_is_a_remark(template: Any) -> None:
    chat, remark = chat_of(Header({"tokenizer.chat_template": template}, {}, np.zeros(0, np.uint8)), read(PAIRS))
    assert chat is None and "chat template" in remark


def test_more_tokens_than_the_model_knows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", "llama", "Q8_0")
    header = reader.read(path)
    assert len(language(path, {}).vocabulary.pieces) == header.tensors["token_embd.weight"].shape[0]
    words = {"tokenizer.ggml.tokens": (*header.meta["tokenizer.ggml.tokens"], b"more")}
    types = {"tokenizer.ggml.token_type": np.ones(262, np.int32)}
    larger = Header({**header.meta, **words, **types}, header.tensors, header.data)
    monkeypatch.setattr(reader, "read", lambda _: larger)
    with pytest.raises(UserError, match="262 tokens, the model 261"):
        language(path, {})
