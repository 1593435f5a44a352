"""Moves of numbers that frontends have in common: slices, selections, repeats.

Their rules knock with the importer that they write with; the name of a result leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from brainc.errors import UnsupportedError
from brainc.ir import Attr

OTHER_OPS = "express it by other ops before export, or cut the model there and do the rest outside"
PIECES = 64  # a selection of more runs than this is not made of slices
LONGEST = 2**20  # cells along an axis that are picked one by one


class Writer(Protocol):
    """What an importer offers to rules."""

    def shape(self, name: str) -> tuple[int, ...]: ...

    def emit(self, op: str, *inputs: str, **attributes: Attr) -> str: ...

    def reshape(self, x: str, shape: Iterable[int]) -> str: ...


def refuse(what: str, fix: str = OTHER_OPS) -> UnsupportedError:
    """The error for a node that is right but out of reach."""
    return UnsupportedError(what, fix=fix)


def raise_refused(refused: Mapping[tuple[str, str, str], Sequence[str]]) -> None:
    """One error for all nodes that cannot be compiled: (op, why, fix) to their names."""
    lines = []
    for (op, why, _), names in refused.items():
        count = f"{len(names)} node" + ("s" if len(names) > 1 else "")
        some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        lines.append(f"{op}: {count} ({some})" + (f": {why}" if why else ""))
    if lines:
        raise UnsupportedError(
            "brainc cannot compile these nodes of the model:\n  " + "\n  ".join(lines),
            fix="\n".join(dict.fromkeys(fix for _, _, fix in refused)),
        )


def cut(g: Writer, x: str, ranges: Mapping[int, range]) -> str:
    """A slice along some axes; nothing at all if it takes everything."""
    full = [range(n) for n in g.shape(x)]
    cells = [ranges.get(axis, all_) for axis, all_ in enumerate(full)]
    if cells == full:
        return x
    starts, steps = tuple(r.start for r in cells), tuple(r.step for r in cells)
    return g.emit("slice", x, starts=starts, sizes=tuple(map(len, cells)), steps=steps)


def take(g: Writer, x: str, axis: int, indices: Sequence[int]) -> str:
    """x[indices] along an axis, as slices of equal step, joined."""
    if len(indices) > LONGEST:
        raise refuse(f"it selects more than {LONGEST} cells of an axis")
    picks = [range(g.shape(x)[axis])[i] for i in indices]
    parts: list[str] = []
    while picks:
        step = picks[1] - picks[0] if len(picks) > 1 else 1
        run = 1
        while step and run < len(picks) and picks[run] - picks[run - 1] == step:
            run += 1
        step = step if run > 1 else 1
        parts.append(cut(g, x, {axis: range(picks[0], picks[0] + run * step, step)}))
        picks = picks[run:]
        if len(parts) > PIECES:
            raise refuse(f"it selects in more than {PIECES} runs")
    return parts[0] if len(parts) == 1 else g.emit("concat", *parts, axis=axis)


def broadcast(g: Writer, x: str, shape: tuple[int, ...]) -> str:
    """x repeated up to `shape`."""
    aligned = g.reshape(x, (1,) * (len(shape) - len(g.shape(x))) + g.shape(x))
    return aligned if g.shape(aligned) == shape else g.emit("expand", aligned, shape=shape)
