"""The targets whose code differs: a board that is another machine under its own name is left out."""

from __future__ import annotations

from brainc.target import Target, all_targets, load_target


def machines() -> list[Target]:
    """Every target, but for boards that extend a whole machine: their code is that machine's."""
    return [t for t in all_targets() if t.board is None or load_target(t.chain[1]).abstract]
