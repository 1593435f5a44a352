"""A chain as C: one function with a loop over ticks, in which everything happens at its beats.

Who knocks: `views.py`, which knows how a kernel is called. What leaves: frozen records of strings for the skeleton.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from brainc.chain import OWN, Act, Beat, Chain, Fetch, Fill, Place, Run, Slide

ALWAYS = Beat(0, 1, 1)


@dataclass(frozen=True, slots=True)
class Spots:
    """Where the operands of one call lie: offsets in the brain's struct, as C writes them."""

    at: Mapping[str, str]
    scratch: str = "0"
    down: bool = False


@dataclass(frozen=True, slots=True)
class BeatView:
    """Statements that happen at the same ticks."""

    when: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChainView:
    """One C function."""

    note: str
    fn: str
    starts: tuple[str, ...]
    ticks: int
    beats: tuple[BeatView, ...]


Homes = Callable[[str], int]  # where a value lies, and under OWN the chain's own memory
Calls = Callable[[Run, Spots], Iterable[str]]  # the lines that run a kernel


def chain_view(chain: Chain, fn: str, note: str, home: Homes, calls: Calls) -> ChainView:
    """The function `fn` that runs a chain."""
    beats = []
    for when, acts in groupby(chain.acts, key=lambda act: _when(act.beat)):
        lines = [line for act in acts for line in _lines(act, home, calls)]
        beats.append(BeatView(when, tuple(lines)))
    starts = tuple(line for fill in chain.starts for line in _lines(fill, home, calls))
    return ChainView(note, fn, starts, chain.ticks, tuple(beats))


def told(run: Run) -> str:
    """What a call does, for the reader."""
    times = f", rows 0..{run.beat.count - 1}" if run.beat.count > 1 else ""
    return f"{run.node.name}: {run.row.op}{times}"


def _when(beat: Beat) -> str:
    """The condition on tick t."""
    if beat.count == 1:
        return f"t == {beat.first}"
    words = [f"t >= {beat.first}"] if beat.first else []
    words.append(f"t <= {beat.last}")
    if beat.every > 1:
        words.append(f"t % {beat.every} == {beat.first % beat.every}")
    return " && ".join(words)


def _offset(place: Place, beat: Beat, home: Homes) -> str:
    """Where a place is at tick t."""
    start = home(place.home) + place.offset
    if place.step == 0 or beat.count == 1:
        return str(start)
    since = f"(t - {beat.first})" if beat.first else "t"
    number = since if beat.every == 1 else f"{since} / {beat.every}"
    return f"{start} + {number} * {place.step}" if start else f"{number} * {place.step}"


def _lines(act: Act, home: Homes, calls: Calls) -> Iterator[str]:
    match act:
        case Slide():
            at = home(OWN) + act.at.offset
            yield f"memmove(m + {at}, m + {at + act.row}, {act.row * (act.rows - 1)});"
        case Fill():
            yield f"memset(m + {home(OWN) + act.at.offset}, {act.byte}, {act.nbytes});"
        case Fetch():
            source = _offset(act.source, act.beat, home)
            yield f"memcpy(m + {home(OWN) + act.at.offset}, m + {source}, {act.nbytes});"
        case Run():
            spots = {name: _offset(place, act.beat, home) for name, place in act.places.items()}
            yield from calls(act, Spots(spots, str(home(OWN) + act.scratch)))
