"""Vocabularies of GGUF files: llama.cpp reads the same out of them, what they leave open included."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import gguf_files
import llama
import pytest
from tokenizing import Tokenizer, runtime_library

from brainc.frontends.gguf import language

_FACTS = """
import ctypes, json, sys
import llama_cpp as llama
params = llama.llama_model_default_params()
params.vocab_only = True
v = llama.llama_model_get_vocab(llama.llama_model_load_from_file(sys.argv[1].encode(), params))
tokens = range(llama.llama_vocab_n_tokens(v))
print(json.dumps({
    "pieces": [llama.llama_vocab_get_text(v, t).hex() for t in tokens],
    "scores": [llama.llama_vocab_get_score(v, t) for t in tokens],
    "bos": llama.llama_vocab_bos(v), "eos": llama.llama_vocab_eos(v),
    "add_bos": llama.llama_vocab_get_add_bos(v), "add_eos": llama.llama_vocab_get_add_eos(v),
}))
"""


PRES = ("gpt-2", "smollm", "qwen2", "llama-bpe", "default")


@pytest.mark.parametrize(("words", "pre"), [("llama", "default"), *(("gpt2", pre) for pre in PRES)])
def test_a_vocabulary_is_llama_cpps(words: str, pre: str, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", "llama", "F16", words=words, pre=pre)
    done = subprocess.run([llama.python(), "-c", _FACTS, str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    wanted, found = json.loads(done.stdout), language(path, {}).vocabulary
    assert [piece.hex() for piece in found.pieces] == wanted["pieces"]
    assert found.scores.tolist() == wanted["scores"]
    for fact in ("bos", "eos", "add_bos", "add_eos"):
        assert getattr(found, fact) == wanted[fact], fact


def test_a_token_of_no_known_type_is_read_and_writes_nothing(tmp_path: Path) -> None:
    """As in llama.cpp: the tokens of a text, and what each token stands for."""
    path = gguf_files.write(tmp_path / "m.gguf", "llama", "F16", words="gpt2")
    types = struct.pack("<4i", 1, 1, 3, 3)  # of the last tokens: ll, hell and two that control
    data = path.read_bytes()
    assert data.count(types) == 1
    path.write_bytes(data.replace(types, struct.pack("<4i", 9, 0, 3, 3)))
    command = [llama.python(), str(Path(__file__).with_name("llama_tokens.py")), str(path)]
    asked = json.dumps([[b"hello, hell".hex(), False, False]])
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    wanted, ours = json.loads(done.stdout), Tokenizer(runtime_library(tmp_path), language(path, {}).vocabulary)
    assert ours.ids("hello, hell") == wanted["ids"][0] and wanted["hidden"][258] == "" != wanted["hidden"][256]
    assert [ours.piece(token).hex() for token in range(261)] == wanted["hidden"]
