"""What a brain that reads and writes text knows besides its graph.

A frontend fills it in; the compiler carries it along, and the host program is made with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brainc.dtypes import Array


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The texts between what two sides say: opening, user, after_user, answer, after_answer, user, after_user …

    system: before and behind what the system says, up to what the user says first, in place of the opening; None: there
    is no such thing. trims: what they say loses the spaces at its ends.
    """

    opening: str
    after_user: str
    after_answer: str
    system: tuple[str, str] | None = None
    trims: bool = False

    def text(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A conversation of messages (role, content), the system's first if it speaks at all."""
        said = [m["content"].strip() if self.trims else m["content"] for m in messages]
        parts = [self.opening]
        if messages[0]["role"] == "system":
            before, behind = self.system or ("", "")
            parts, said = [before, said[0], behind], said[1:]
        for index, text in enumerate(said):
            parts += [text, self.after_answer if index % 2 else self.after_user]
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a language model, and how a text becomes some of them.

    kind: "bpe" merges bytes pair by pair, in the order of `merges` ("left right"); "spm" merges characters into the
    piece of the highest score. pre: how GGUF files call the way "bpe" cuts a text before. pieces: the token's text as
    the file has it ("bpe": a character for each byte; "spm": U+2581 for a space). types: 1 normal, 2 unknown, 3
    control, 4 user defined, 5 unused, 6 a byte. bos, eos, eot, unk: tokens that begin, end, end a turn, stand for what
    is unknown.
    """

    kind: str
    pre: str
    pieces: tuple[bytes, ...]
    scores: Array  # f32[N]
    types: Array  # i32[N]
    merges: tuple[bytes, ...] = ()
    bos: int | None = None
    eos: int | None = None
    eot: int | None = None
    unk: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Language:
    """What a language model knows besides its graph: how far it looks back, how much it reads at a time, its tokens,
    how a conversation is written (None: it only continues texts), and what the user should be told."""

    context: int
    block: int
    vocabulary: Vocabulary
    chat: ChatFormat | None = None
    remarks: tuple[str, ...] = ()
