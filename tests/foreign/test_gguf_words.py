"""Vocabularies of GGUF files: llama.cpp reads the same out of them, what they leave open included."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import gguf_files
import llama
import pytest

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
