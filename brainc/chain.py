"""A chain: layers that run together row by row, each reading the last few rows of the one before.

Who knocks: `stream.py` weaves chains, `memory.py` gives them a place, `views.py` writes them as C. What leaves:
records. Time goes in ticks; a layer makes a row at each of its beats, a layer behind one of stride 2 at every other
tick. Of a value inside a chain there are only the rows that somebody still reads: its window, the newest row last.
Before a row comes the window slides by one, so every pointer stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from brainc.ir import Node, Value
from brainc.kernels import Choice

OWN = ""  # the home of places in a chain's own memory


@dataclass(frozen=True, slots=True)
class Beat:
    """At tick `first` and then at every `every`th, `count` times in all."""

    first: int
    every: int
    count: int

    @property
    def last(self) -> int:
        return self.first + (self.count - 1) * self.every

    def number(self, tick: int) -> int | None:
        """Which of its times this tick is, from 0; None if it is none of them."""
        number, rest = divmod(tick - self.first, self.every)
        return number if rest == 0 and 0 <= number < self.count else None

    def before(self, tick: int) -> int:
        """How many of its times lie before a tick."""
        return max(0, min(self.count, -((self.first - tick) // self.every)))


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes from the start of `home`, a value's place or the chain's own memory, and `step` further at each beat."""

    home: str
    offset: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class Slide:
    """A window of `rows` rows, `row` bytes each: all but the first move up, the last is free for a new one."""

    beat: Beat
    at: Place
    row: int
    rows: int
    what: str  # the value whose window it is


@dataclass(frozen=True, slots=True)
class Fill:
    """Bytes that are all alike: a row of a border, or sums before anything is added."""

    beat: Beat
    at: Place
    nbytes: int
    byte: int
    what: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """A row of a whole value is copied to the end of its window."""

    beat: Beat
    at: Place
    source: Place
    nbytes: int
    what: str


@dataclass(frozen=True, slots=True)
class Run:
    """A kernel makes one row: `row` is the layer `node` as it is for that, `places` where its operands are."""

    beat: Beat
    node: Node
    row: Node
    choice: Choice
    places: Mapping[str, Place]
    scratch: int  # offset in the chain's own memory
    whole: bool = True  # makes a row of the layer's result, not something on the way to it


Act = Slide | Fill | Fetch | Run


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers that run row by row as one step of the plan.

    `nodes` in order, without views; `reads` and `writes` are whole values outside. `starts` happen
    once, `acts` at their beats, within a tick in this order. `laps`: (x, y, distance), how far x must begin behind y
    for y's rows to lie where x's are used up.
    """

    name: str
    nodes: tuple[Node, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    starts: tuple[Fill, ...]
    acts: tuple[Act, ...]
    nbytes: int
    align: int
    values: Mapping[str, Value]  # that only the chain knows
    laps: tuple[tuple[str, str, int], ...] = ()

    @property
    def ticks(self) -> int:
        return 1 + max(act.beat.last for act in self.acts)

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(act for act in self.acts if isinstance(act, Run))

    @property
    def cost(self) -> float:
        """Of all its rows, and of moving windows: two cycles a byte."""
        moved = sum(act.beat.count * act.row * (act.rows - 1) for act in self.acts if isinstance(act, Slide))
        return sum(run.beat.count * run.choice.cost for run in self.runs) + 2 * moved

    def choices(self) -> dict[str, Choice]:
        """Per node, the kernel that makes its rows, at the cost of all of them."""
        return {r.node.name: replace(r.choice, cost=r.choice.cost * r.beat.count) for r in reversed(self.runs)}

    def rows(self) -> Iterator[tuple[Run, int]]:
        """(run, which of its rows) in the order in which they are made."""
        for tick in range(self.ticks):
            for run in self.runs:
                number = run.beat.number(tick)
                if number is not None:
                    yield run, number
