"""Renders a template out of an untrusted file: in Jinja's immutable sandbox, in a process with little to spend.

`chat_template.py` knocks with a template and conversations; texts leave, or what is wrong with each. This file is also
the program of that process. It knows nothing of brainc, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

MEMORY, SECONDS = 1 << 30, 5  # of the process: address space, processor time
PATIENCE = 10.0  # seconds on the clock, on a busy machine
LONGEST = 1 << 16  # characters of a template, and of what it renders
Message = Mapping[str, str]


class TemplateError(Exception):
    """A template that does not render; its text says why."""


def render(template: str, conversations: Sequence[Sequence[Message]], words: Mapping[str, str]) -> list[str | None]:
    """Each conversation as the template writes it, asking for an answer where a user spoke last; None: it refuses.

    words: names that it may use, such as bos_token. TemplateError: it cannot be read, takes too long or too much.
    """
    if len(template) > LONGEST:
        raise TemplateError(f"the template has more than {LONGEST:,} characters")
    asked = json.dumps({"template": template, "conversations": [list(c) for c in conversations], "words": dict(words)})
    command = [sys.executable, "-I", __file__]
    try:
        done = subprocess.run(command, input=asked.encode(), capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise TemplateError("the template takes too long") from None
    if done.returncode:
        raise TemplateError("the template fails, takes too long, or needs too much memory")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "wrong" in answer:
        raise TemplateError(answer["wrong"])
    texts: list[str | None] = answer["texts"]
    return texts


def _poor() -> None:
    """Little memory and time from here on, where the system can see to that."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def _texts(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `render` hands on."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(why: str) -> None:
        raise jinja2.TemplateError(why)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], autoescape=False
    )
    environment.globals["raise_exception"] = refuse
    try:
        template = environment.from_string(asked["template"])
    except (jinja2.TemplateError, SyntaxError, RecursionError) as error:
        return {"wrong": f"the template cannot be read: {error}"}
    texts: list[str | None] = []
    for messages in asked["conversations"]:
        wanted = messages[-1]["role"] == "user"
        try:
            text = template.render(messages=messages, add_generation_prompt=wanted, **asked["words"])
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError):
            texts.append(None)
            continue
        if len(text) > LONGEST:
            return {"wrong": f"the template writes more than {LONGEST:,} characters"}
        if "\0" in text or text != text.encode(errors="ignore").decode():
            return {"wrong": "the template writes what is no text"}
        texts.append(text)
    return {"texts": texts}


if __name__ == "__main__":
    _poor()
    json.dump(_texts(json.load(sys.stdin)), sys.stdout)
