"""A chat template becomes the few texts between what the two sides say, so that the program that chats needs no Jinja.

Knocks: the frontend, with the template out of a file's metadata. Leaves: a `ChatFormat`, or a remark that says why
there is none: then the file still compiles, and continues texts.

A template is rendered with marks in place of what people say; what stands between the marks are the texts. Three
conversations, put together from these, must then come out as the template itself writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from brainc.frontends.gguf.sandbox import Message, TemplateError, render
from brainc.language import ChatFormat

MARKS = tuple(f"xq{i}z{i}k" for i in range(5))
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


def turns(*texts: str, system: str | None = None) -> list[Message]:
    """A conversation: the user first, then in turn."""
    roles = [USER if i % 2 == 0 else ASSISTANT for i in range(len(texts))]
    said: list[Message] = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    return said if system is None else [{"role": SYSTEM, "content": system}, *said]


def reduced(template: str, words: Mapping[str, str]) -> tuple[ChatFormat | None, str]:
    """(the texts between turns, or None; a remark, empty if all is well). words: bos_token, eos_token."""
    u1, a1, u2, a2, u3 = MARKS
    marked = [turns(u1, a1, u2), turns(u1, a1, u2, system=a2), turns(f" {u1} ")]
    proofs = [
        turns("How are you?"),
        turns("Be quick.\nWhat is 2 + 2?", "4", "And 3 * 3?", system="You count."),
        turns(u3, "It is {{ 1 }}.", "<b>?</b>", a1, u1),
    ]
    try:
        rendered = render(template, [*marked, *proofs], words)
        chat = _between(rendered, marked)
    except TemplateError as error:
        return None, f"cannot chat, only continue texts: {error}"
    wrong = [
        text
        for messages, text in zip(proofs, rendered[len(marked) :], strict=True)
        if text != (chat.text(messages) if chat.system or messages[0]["role"] != SYSTEM else None)
    ]
    if wrong:
        return None, "cannot chat, only continue texts: its chat template does more than to put texts between turns"
    return chat, "" if chat.system else "its chat template knows no system prompt"


def _between(rendered: Sequence[str | None], marked: Sequence[Sequence[Message]]) -> ChatFormat:
    """What stands between the marks."""
    plain, told, spaced = rendered[: len(marked)]
    if plain is None or spaced is None:
        raise TemplateError("its chat template refuses a plain conversation")
    opening, after_user, after_answer, end = _split(plain, [str(m["content"]) for m in marked[0]])
    system: tuple[str, str] | None = None
    if told is not None:
        pieces = _split(told, [str(m["content"]) for m in marked[1]])
        if pieces[2:] == (after_user, after_answer, end):
            system = pieces[0], pieces[1]
    if end != after_user:
        raise TemplateError("its chat template writes the last turn in another way than those before")
    return ChatFormat(opening, after_user, after_answer, system, f" {MARKS[0]} " not in spaced)


def _split(text: str, marks: Sequence[str]) -> tuple[str, ...]:
    """What stands before, between and behind the marks, each of which must be there once and in this order."""
    places = [(text.find(mark), text.find(mark) + len(mark)) for mark in marks]
    whole = [(0, 0), *places, (len(text), len(text))]
    if any(text.count(mark) != 1 for mark in marks) or any(a[1] > b[0] for a, b in pairwise(whole)):
        raise TemplateError("its chat template does more than to put texts between turns")
    return tuple(text[a[1] : b[0]] for a, b in pairwise(whole))
