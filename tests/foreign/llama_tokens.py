"""Run by a Python that has llama_cpp: `llama_tokens.py MODEL < requests > answers`.

Requests: a JSON list of [hex of the text, add_special, parse_special]. Answers: {"ids": a list of tokens for each,
"pieces": the hex of each token's text, control tokens shown; "hidden": the same, control tokens not shown, "ends": the
tokens that end what a model says}.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any


def main(path: str) -> None:
    import llama_cpp as llama  # type: ignore[import-not-found]

    quiet = llama.llama_log_callback(lambda level, text, user: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(path.encode(), params)
    if not model:
        raise SystemExit(f"llama.cpp does not load {path}")
    vocabulary = llama.llama_model_get_vocab(model)

    def ids(text: str, add: bool, special: bool) -> list[int]:
        data = bytes.fromhex(text)
        room = (llama.llama_token * (3 * len(data) + 16))()
        count: int = llama.llama_tokenize(vocabulary, data, len(data), room, len(room), add, special)
        return list(room[:count])

    def piece(token: int, special: bool) -> str:
        room = ctypes.create_string_buffer(1024)
        count = llama.llama_token_to_piece(vocabulary, token, room, len(room), 0, special)
        return room.raw[:count].hex()

    tokens = range(llama.llama_vocab_n_tokens(vocabulary))
    answers: dict[str, Any] = {"ids": [ids(*request) for request in json.load(sys.stdin)]}
    answers["pieces"] = [piece(token, True) for token in tokens]
    answers["hidden"] = [piece(token, False) for token in tokens]
    answers["ends"] = [token for token in tokens if llama.llama_vocab_is_eog(vocabulary, token)]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
