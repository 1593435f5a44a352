"""The proof of a language model: the same logits, to the bit, from every kernel that this CPU can run, with 1, 2 and 4
threads, a text read at once or token by token; on small models also from the numpy reference.

Asked by `check`. What leaves is a rung for each, and a hash of the logits that another machine can compare.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainc import emit, interp, toolchain, vocabulary_section
from brainc.check import Rung
from brainc.dtypes import Array
from brainc.errors import UserError
from brainc.native import Speaker, speaker_library
from brainc.program import Host, Program

THREADS = (1, 2, 4)
AHEAD, BEHIND = 5, 3  # tokens of the first piece, and of those read one by one at the end
TEXTS = (  # the first words of each are read
    "The kettle sings while the cat sleeps by the window.",
    "Der Wind trägt den Duft von frischem Brot über die Straße.",
    "Où sont les clés que j'ai laissées près du café ?",
    "Mañana lloverá en las montañas, ¿verdad?",
    "Сегодня в лесу тихо, только снег падает.",
    "البحر هادئ هذا الصباح.",
    "今天晚上月亮很圆。",
    "for (int i = 0; i < 10; i++) { sum += i * 3; }",
)
SMALL = 5_000_000  # multiply-accumulates a token, where there is patience for numpy and for plain C token by token
Read = Callable[[Array], Array]  # tokens -> logits behind the last


@dataclass(frozen=True, slots=True)
class Proof:
    """The rungs, kernels for which this CPU has not the instructions, the tokens that were read, and the hash of the
    logits (of the first way that was tried)."""

    rungs: tuple[Rung, ...]
    missing: tuple[str, ...]
    tokens: Array
    digest: str


def prove(program: Program, host: Host) -> Proof:
    """All ways to read a text, beside the first of them."""
    small = program.work < SMALL * (host.language.block + 1)
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        place = Path(folder)
        toolchain.write(place, emit.emit_host(program, vocabulary_section.pack(host.language.vocabulary)))
        library = speaker_library(place, program.name, program.target)
        with Speaker(place, program.name, library, 1, None) as model:
            tokens, best = _tokens(model, host), model.isa
        want = _reference(program, tokens) if small else list[Array]()
        rungs = [Rung("reference", len(want), None)] if small else list[Rung]()
        levels = [voice.accent.name for voice in host.voices]  # a CPU that has one has those before it
        count = levels.index(best) + 1
        for isa in levels[:count]:
            whole = small or isa != levels[0]
            for threads in THREADS:
                with Speaker(place, program.name, library, threads, isa) as model:
                    for how, got in _ways(model, tokens, whole):
                        want = want or got
                        name = f"{isa}, {threads} {'thread' if threads == 1 else 'threads'}, {how}"
                        rungs.append(Rung(name, len(got), _difference(want, got)))
    digest = hashlib.sha256(b"".join(logits.tobytes() for logits in want)).hexdigest()[:16]
    return Proof(tuple(rungs), tuple(levels[count:]), tokens, digest)


def _tokens(model: Speaker, host: Host) -> Array:
    """As many of every text, together more than a block, if the context has room; UserError: it has none at all."""
    count = min(host.language.block + AHEAD + BEHIND, host.language.context)
    if count <= AHEAD + BEHIND:
        what = f"a context of {host.language.context} has no room for the {AHEAD + BEHIND + 1} tokens of a proof"
        raise UserError(what, fix=f"give it more: --context {AHEAD + BEHIND + 1}")
    each = -(-count // len(TEXTS))
    found = [token for text in TEXTS for token in model.tokenize(text, ends=text is TEXTS[0])[:each]]
    return np.resize(np.array(found or [0], np.int32), count)  # from the start again where a vocabulary has few words


def _ways(model: Speaker, tokens: Array, whole: bool) -> Iterator[tuple[str, list[Array]]]:
    """(how, logits) of tokens read in pieces, and one by one (not `whole`: only the first piece of them)."""
    yield "in blocks", _pieces(tokens, lambda piece: model.read(piece.tolist()), lambda t: model.step(int(t[0])))
    model.forget()
    logits = [model.step(int(t)) for t in (tokens if whole else tokens[:AHEAD])]
    yield "one by one", [logits[AHEAD - 1], *(logits[-BEHIND - 1 :] if whole else [])]


def _pieces(tokens: Array, many: Read, one: Read) -> list[Array]:
    """Logits behind the first piece, behind all but the last tokens, and behind each of these."""
    found = [many(tokens[:AHEAD]), many(tokens[AHEAD:-BEHIND])]
    return found + [one(tokens[i : i + 1]) for i in range(len(tokens) - BEHIND, len(tokens))]


def _reference(program: Program, tokens: Array) -> list[Array]:
    """The same by the numpy interpreter, in the entries' own words."""
    graph, state = program.graph, interp.fresh_state(program.graph)
    entries, at = {entry.name: entry for entry in graph.entries}, 0

    def run(name: str, piece: Array) -> Array:
        nonlocal at
        entry, row = entries[name], np.zeros(graph.type(entries[name].inputs[0]).shape, np.int32)
        row[: len(piece)] = piece
        given = [row, np.array([at], np.int32), np.array([len(piece)], np.int32)]
        values = interp.run(graph, name, dict(zip(entry.inputs, given, strict=False)), state)
        at += len(piece)
        return values[entry.outputs[0]].reshape(-1)

    def many(piece: Array) -> Array:
        block = graph.type(entries["prefill"].inputs[0]).shape[0]
        return [run("prefill", piece[i : i + block]) for i in range(0, len(piece), block)][-1]

    return _pieces(tokens, many, lambda piece: run("decode", piece))


def _difference(want: list[Array], got: list[Array]) -> str | None:
    """None where all bits agree, as far as `got` goes."""
    for index, (a, b) in enumerate(zip(want, got, strict=False)):
        wrong = np.flatnonzero(a.view(np.uint32) != b.view(np.uint32))
        if wrong.size:
            first = int(wrong[0])
            return f"logits {index}[{first}]: want {a[first]!r}, got {b[first]!r} ({wrong.size:,} of {a.size:,} differ)"
    return None
