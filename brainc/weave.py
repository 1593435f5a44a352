"""Layers woven into a chain: when each makes its rows, which rows stay, where they lie.

Who knocks: `stream.py`, with the nodes that are to run row by row. What leaves: a `Chain`, or None where they cannot
(a layer without rows, rows that never meet, pointers that a kernel could not read). `draft` says what a chain would
need without asking for kernels' places; `weave` makes it.

Beats: a layer makes row r at the tick at which the last row that it reads is made. A row waits where another operand
of its reader comes later: a residual stays in its window until the layers beside it have caught up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from brainc import memory, planner
from brainc.chain import OWN, Act, Beat, Chain, Fetch, Fill, Place, Run, Slide
from brainc.ir import Entry, Graph, Node, Value
from brainc.kernels import Choice, KernelTable
from brainc.planner import Block, Problem, Step
from brainc.ranges import accumulator_bits
from brainc.rows import SUMS, Form, Reading, form, row_counts

EFFORT = 500  # of the planner, for a chain's own memory


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that stay of a value: `rows` of `row` bytes. `reach`: how often it must slide at least."""

    rows: int
    row: int
    align: int
    fill: int | None
    reach: int
    fetched: bool

    @property
    def nbytes(self) -> int:
        return self.rows * self.row


@dataclass(frozen=True, slots=True)
class Draft:
    """A chain in the making: beats by node and by value, windows by value; `whole` values have a place outside."""

    nodes: tuple[Node, ...]
    beats: Mapping[str, Beat]
    times: Mapping[str, Beat]
    windows: Mapping[str, Window]
    whole: frozenset[str]
    inside: frozenset[str]

    def passing(self, name: str) -> bool:
        """Whether a row of this value is used up in the tick that makes it."""
        window = self.windows.get(name)
        return window is not None and window.rows == 1 and not window.fetched


@dataclass
class Loom:
    """An entry whose nodes may become chains; what was asked of a node is remembered."""

    graph: Graph
    entry: Entry
    table: KernelTable
    align: int
    counts: Mapping[str, int] = field(init=False)
    home: Mapping[str, str] = field(init=False)
    users: Mapping[str, list[Node]] = field(init=False)
    forms: Mapping[str, Form | None] = field(init=False)
    chosen: dict[str, tuple[Choice, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = row_counts(self.graph, self.entry)
        self.home = memory.homes(self.graph, self.entry)
        self.users = {}
        for node in self.entry.nodes:
            for name in node.operands:
                if name in self.home and node.op != "reshape":
                    self.users.setdefault(self.home[name], []).append(node)
        self.forms = {n.name: form(self.graph, n, self.counts) for n in self.entry.nodes}

    def form(self, node: Node) -> Form:
        """The form of a node that has one."""
        found = self.forms[node.name]
        assert found is not None
        return found

    def choices(self, node: Node) -> tuple[Choice, ...]:
        """The kernels of a node's row and of what is done at the end; none where there is no kernel for one."""
        if node.name not in self.chosen:
            made = self.form(node)
            facts = {"acc_bits": accumulator_bits(self.graph, node)}
            layers = [made.row] + ([made.last] if made.last else [])
            found = [self.table.fitting(made.graph(self.graph, n), n, facts) for n in layers]
            self.chosen[node.name] = tuple(f[0] for f in found) if all(found) else ()
        return self.chosen[node.name]

    def row(self, name: str) -> int:
        """Bytes of a row of a value."""
        return self.graph.type(name).nbytes // self.counts[name]

    def least(self, name: str) -> int:
        """What places of a value are multiples of."""
        return max(self.align, self.graph.type(name).dtype.nbytes)

    def direct(self, reading: Reading) -> bool:
        """Whether a whole value can be read where it lies: no border, and every row begins where a kernel may read."""
        rows = self.counts[reading.name]
        step = reading.stride * self.row(reading.name)
        return reading.above == 0 and step % self.least(reading.name) == 0 and reading.span <= rows


def draft(loom: Loom, nodes: Sequence[Node]) -> Draft | None:
    """When each of these nodes makes its rows, and which rows stay; None if they cannot run row by row."""
    home = loom.home
    inside = frozenset(home[o] for n in nodes for o in n.outputs)
    names = {n.name for n in nodes}
    outputs = {home[o] for o in loom.entry.outputs}
    whole = frozenset(v for v in inside if v in outputs or any(n.name not in names for n in loom.users.get(v, ())))
    beats: dict[str, Beat] = {}
    times: dict[str, Beat] = {}
    for node in nodes:
        made = loom.forms[node.name]
        beat = _beat(loom, made, inside, times) if made else None
        if made is None or beat is None or not loom.choices(node):
            return None
        beats[node.name] = beat
        y = home[node.outputs[0]]
        if made.last is None:
            times[y] = beat
        if y in whole and made.last is None and loom.row(y) % loom.least(y):
            return None
    read = dict.fromkeys(home[r.name] for n in nodes for r in loom.form(n).reads)
    times |= {v: Beat(0, 1, loom.counts[v]) for v in read if v not in inside}
    windows: dict[str, Window] = {}
    for value in read:
        window = _window(loom, value, nodes, beats, times, value in whole or value not in inside)
        if window is None:
            return None
        if window.rows:
            windows[value] = window
    return Draft(tuple(nodes), beats, times, windows, whole, inside)


def _beat(loom: Loom, made: Form, inside: frozenset[str], times: Mapping[str, Beat]) -> Beat | None:
    """When a node makes its rows: as soon as all that a row reads is there."""
    home = loom.home
    known, free = list[tuple[Beat, Beat]](), list[tuple[Beat, Beat]]()
    rowed = {r.name for r in made.reads}
    if any(home.get(i) in inside for i in made.node.operands if i not in rowed):
        return None  # a value without rows that is made inside
    for reading in made.reads:
        value = home[reading.name]
        if loom.counts.get(value) != loom.counts[reading.name]:
            return None
        if value in inside and value not in times:
            return None
        source = times.get(value, Beat(0, 1, loom.counts[value]))
        beat = Beat(
            source.first + (reading.span - 1 - reading.above) * source.every, reading.stride * source.every, made.rows
        )
        fixed = value in inside or not (loom.direct(reading) and reading.end(made.rows) <= loom.counts[value])
        (known if fixed else free).append((beat, source))
    chosen = known or free
    first = max(beat.first for beat, _ in chosen)
    if len({beat.every for beat, _ in chosen}) > 1 or any((first - b.first) % s.every for b, s in chosen):
        return None
    return replace(chosen[0][0], first=first)


def _lag(reading: Reading, beat: Beat, source: Beat) -> int:
    """By how many rows the source is ahead when a reader reads."""
    return (beat.first - source.first) // source.every - (reading.span - 1 - reading.above)


def _window(
    loom: Loom, value: str, nodes: Sequence[Node], beats: Mapping[str, Beat], times: Mapping[str, Beat], whole: bool
) -> Window | None:
    """The window of a value, of no rows where every reader reads it whole; None if it cannot have one."""
    row, least, source = loom.row(value), loom.least(value), times[value]
    depth, reach, fills = 0, loom.counts[value], set[int | None]()
    lags = list[tuple[int, int]]()
    for node in nodes:
        for reading in loom.form(node).reads:
            end = reading.end(beats[node.name].count)
            if loom.home[reading.name] != value or (whole and loom.direct(reading) and end <= loom.counts[value]):
                continue
            lag = _lag(reading, beats[node.name], source)
            if reading.above or end > loom.counts[value]:
                fills.add(reading.border)
            reach = max(reach, (beats[node.name].last - source.first) // source.every + 1)
            depth = max(depth, reading.span + lag)
            lags.append((reading.span, lag))
    if len(fills) > 1 or None in fills:
        return None
    starts = [(depth - span - lag) * row for span, lag in lags]
    starts += [] if whole else [(depth - 1) * row]
    if depth and any(start % least for start in starts):
        return None
    return Window(depth, row, least, next(iter(fills), None), reach, whole)


def weave(loom: Loom, plan: Draft) -> Chain:
    """The chain of a draft: its memory laid out, its acts in order."""
    runs = [(node, which) for node in plan.nodes for which in range(len(loom.choices(node)))]
    placed = planner.plan(_problem(loom, plan, runs), effort=EFFORT)
    at = placed.offsets
    acts: list[Act] = []
    starts: list[Fill] = []
    fetched: set[str] = set()
    for number, (node, which) in enumerate(runs):
        for value in dict.fromkeys(loom.home[r.name] for r in loom.form(node).reads):
            if value in plan.windows and value not in fetched and value not in plan.inside:
                acts += _coming(loom, plan, value, at[value], None)
                fetched.add(value)
        scratch = at.get(planner.scratch_name(str(number)), 0)
        run = _run(loom, plan, node, which, at, scratch)
        y = loom.home[node.outputs[0]]
        acts += _coming(loom, plan, y, at[y], run) if y in plan.windows else [run]
    always = Beat(0, 1, 1)
    for value, window in plan.windows.items():
        if window.fill is not None:
            starts.append(Fill(always, Place(OWN, at[value]), window.nbytes, window.fill, value))
    sums = _sums(loom, plan)
    starts += [Fill(always, Place(OWN, at[name]), value.type.nbytes, 0, name) for name, value in sums.items()]
    reads = {loom.home[i]: None for n in plan.nodes for i in n.operands if i in loom.home}
    chain = Chain(
        name=f"{plan.nodes[0].name}..{plan.nodes[-1].name}",
        nodes=plan.nodes,
        reads=tuple(v for v in reads if v not in plan.inside),
        writes=tuple(v for v in dict.fromkeys(loom.home[n.outputs[0]] for n in plan.nodes) if v in plan.whole),
        starts=tuple(starts),
        acts=tuple(acts),
        nbytes=placed.nbytes,
        align=max([1, *(w.align for w in plan.windows.values()), *(4 for _ in sums)]),
        values=sums,
    )
    return replace(chain, laps=tuple(_laps(loom, plan, chain)))


def _coming(loom: Loom, plan: Draft, value: str, at: int, run: Run | None) -> Iterator[Act]:
    """A row comes to a window: it slides, then the row is made, or copied; past the last it may be border."""
    window, source, rows = plan.windows[value], plan.times[value], loom.counts[value]
    new = Place(OWN, at + (window.rows - 1) * window.row)
    if run is not None and window.fetched:
        yield run
    if window.rows > 1:
        yield Slide(replace(source, count=window.reach), Place(OWN, at), window.row, window.rows, value)
    if window.fetched:
        yield Fetch(source, new, Place(value, 0, window.row), window.row, value)
    elif run is not None:
        yield run
    if window.fill is not None and window.reach > rows:
        beat = Beat(source.first + rows * source.every, source.every, window.reach - rows)
        yield Fill(beat, new, window.row, window.fill, value)


def _run(loom: Loom, plan: Draft, node: Node, which: int, at: Mapping[str, int], scratch: int) -> Run:
    """One call: a row of a node, or what is done when all rows are summed."""
    made, beat, choice = loom.form(node), plan.beats[node.name], loom.choices(node)[which]
    row = made.last if which and made.last else made.row
    if which:
        beat = Beat(beat.last, 1, 1)
    reads = {r.name: r for r in made.reads}
    places: dict[str, Place] = {}
    for name in (*row.operands, *row.outputs):
        value = loom.home.get(name, "")
        if name.endswith(SUMS):
            places[name] = Place(OWN, at[name])
        elif name in reads and name not in row.outputs:
            places[name] = _source(loom, plan, reads[name], beat, at)
        elif value and name in row.outputs and value in plan.windows and not plan.windows[value].fetched:
            window = plan.windows[value]
            places[name] = Place(OWN, at[value] + (window.rows - 1) * window.row)
        elif value:
            rowed = name in row.outputs and made.last is None
            places[name] = Place(value, 0, loom.row(value) if rowed else 0)
    return Run(beat, node, row, choice, places, scratch, whole=row is made.last or made.last is None)


def _source(loom: Loom, plan: Draft, reading: Reading, beat: Beat, at: Mapping[str, int]) -> Place:
    """Where a node finds the rows that it reads."""
    value = loom.home[reading.name]
    outside = value in plan.whole or value not in plan.inside
    if outside and loom.direct(reading) and reading.end(beat.count) <= loom.counts[value]:
        return Place(value, 0, reading.stride * loom.row(value))
    window = plan.windows[value]
    behind = reading.span + _lag(reading, beat, plan.times[value])
    return Place(OWN, at[value] + (window.rows - behind) * window.row)


def _sums(loom: Loom, plan: Draft) -> dict[str, Value]:
    """The sums of means in the making."""
    forms = [loom.form(n) for n in plan.nodes]
    return {n: Value(n, t) for f in forms for n, t in f.types.items() if n.endswith(SUMS)}


def _problem(loom: Loom, plan: Draft, runs: Sequence[tuple[Node, int]]) -> Problem:
    """A chain's own memory as a planning problem: windows stay, rows that are used up in their tick come and go."""
    sums = _sums(loom, plan)
    blocks = {v: Block(v, w.nbytes, w.align) for v, w in plan.windows.items()}
    blocks |= {n: Block(n, v.type.nbytes, max(loom.align, 4)) for n, v in sums.items()}
    staying = tuple(n for n in blocks if not plan.passing(n))
    steps = []
    for number, (node, which) in enumerate(runs):
        made, choice = loom.form(node), loom.choices(node)[which]
        row = made.last if which and made.last else made.row
        home = {n: n if n in sums else loom.home.get(n, "") for n in (*row.operands, *row.outputs)}
        home = {n: v for n, v in home.items() if v in blocks}
        own = {n: v for n, v in home.items() if plan.passing(v)}
        graph = made.graph(loom.graph, row)
        laps = memory.overlaps(graph, row, choice, own) if row.outputs[0] in own else []
        reads = tuple(dict.fromkeys(home[n] for n in row.operands if n in home))
        writes = tuple(own[n] for n in row.outputs if n in own)
        steps.append(Step(str(number), reads, writes, choice.scratch, loom.align, tuple(laps)))
    after = tuple((str(n), str(n + 1)) for n in range(len(runs) - 1))
    return Problem(blocks, tuple(steps), staying, staying, after)


def _laps(loom: Loom, plan: Draft, chain: Chain) -> Iterator[tuple[str, str, int]]:
    """How far behind the start of each result what is read must begin for the rows to lie where it is used up."""
    order = {id(act): index for index, act in enumerate(chain.acts)}
    made = [(run, run.places[o]) for run in chain.runs for o in run.row.outputs]
    for x in chain.reads:
        readers = list(_readers(chain, x))
        size = loom.graph.type(x).nbytes
        if any(step == 0 for _, step in readers):
            continue
        for y in chain.writes:
            behind = []
            for run, place in ((run, place) for run, place in made if place.home == y):
                row = place.step or loom.graph.type(y).nbytes
                for number in range(run.beat.count):
                    tick = run.beat.first + number * run.beat.every
                    left = [_left(act, step, tick, order[id(act)] < order[id(run)], size) for act, step in readers]
                    behind.append((number + 1) * row - min(left))
            yield x, y, max(behind)


def _readers(chain: Chain, x: str) -> Iterator[tuple[Act, int]]:
    """(act, bytes from one of its beats to the next) of all that read a whole value."""
    for act in chain.acts:
        if isinstance(act, Fetch) and act.source.home == x:
            yield act, act.source.step
        elif isinstance(act, Run):
            yield from ((act, p.step) for n, p in act.places.items() if p.home == x and n in act.row.operands)


def _left(act: Act, step: int, tick: int, done: bool, size: int) -> int:
    """The first byte that a reader still reads at a tick or later; `done`: what it reads at this tick it has read."""
    number = act.beat.before(tick + (done and isinstance(act, Fetch)))
    return size if number >= act.beat.count else number * step
