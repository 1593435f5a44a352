"""The arena planner: which step runs when, and where each block of bytes lies.

Who knocks: the memory pass, with a `Problem` of named blocks and steps; it knows of graphs and kernels, this
room does not. What leaves: a `Placement` (order, offsets, arena size, the proven lower bound), the
`lifetimes` that pictures are drawn from, and an independent `verify`. Sizes and offsets are bytes. Same
problem, same placement, on every machine: the search is bounded by counted states, never by time.

Sources: largest-first greedy placement as in TFLite Micro's greedy memory planner; operator order as in
Liberis and Lane, arXiv 1910.05110; branch and bound over pairs as for disjunctive scheduling, with weights
after Boussemart et al., "Boosting systematic search by weighting constraints", ECAI 2004.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from brainc.planner_pack import Budget, Network, OutOfEffort, first_fit, height_of
from brainc.planner_search import Model, decide, floor_of_any_order, least_peak, modest_order, network


@dataclass(frozen=True, slots=True)
class Block:
    """One tensor that needs room in the arena: size in bytes, and what its offset is a multiple of."""

    name: str
    nbytes: int
    align: int = 1


@dataclass(frozen=True, slots=True)
class Overlap:
    """A kernel's permission: y, written by this step, may share bytes with x, which the step reads.

    It holds if offset(x) - offset(y) >= distance (which may be negative, or larger than the blocks) and x
    dies at this step: no later reader, and not an output. Otherwise x and y must be disjoint.
    """

    x: str
    y: str
    distance: int


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call. Its scratch (bytes) lives during the step only and is placed as `NAME#scratch`."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    scratch: int = 0
    scratch_align: int = 1
    overlaps: tuple[Overlap, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be placed. Every block is an input or written by exactly one step, never both.

    `inputs` are alive from the very beginning to their last reader (one that nobody reads: during the first
    step only), `outputs` to the very end. `after`: pairs (a, b) of step names, b runs after a, besides what
    the data ask for.
    """

    blocks: Mapping[str, Block]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    after: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """An answer, with what is known of better ones.

    `order`: step names as they run. `offsets`: bytes, for every block and every scratch. `nbytes`: the arena.
    `lower_bound`: proven over all orders and placements. `optimal`: nothing smaller exists. `greedy_bytes`:
    largest-first greedy in the original order without overlaps. `liveness_bytes`: most bytes alive at a step
    of the original order, without overlaps.
    """

    order: tuple[str, ...]
    offsets: Mapping[str, int]
    nbytes: int
    lower_bound: int
    optimal: bool
    greedy_bytes: int
    liveness_bytes: int


Found = tuple[int, tuple[int, ...], list[int]]  # bytes, order of the steps, offset of each block


def scratch_name(step: str) -> str:
    """The name under which a step's scratch is placed."""
    return f"{step}#scratch"


def plan(problem: Problem, *, effort: int = 20_000) -> Placement:
    """Order the steps and place the blocks in as few bytes as can be found. ValueError if malformed.

    * Bound: the order whose worst step needs least, over all orders, or a bound on it (`least_peak`).
    * Greedy: in the original order and in those found so far, put blocks one after the other at the lowest
      free offset, largest first and in a few other sequences, with overlaps. The best is the first answer.
    * Exact: while the answer is above the bound, ask `decide` for one within a height between the two: the
      bound itself first, then halfway. An answer lowers the one, a proof that there is none raises the other.
    * The search ends when the two meet, or after `effort` search states of middling size (an eighth of it is
      the unit in which small ones count): then the gap remains and is told.
    """
    model, names = _compile(problem)
    budget = Budget(8 * effort)
    original = model.plain_order()
    calm, floor = least_peak(model, floor_of_any_order(model), budget.part(2))
    first = _greedy(model, (original, modest_order(model), calm or original))
    (nbytes, order, offsets), floor = _improve(model, first, floor, budget)
    plain = network(model, original, overlaps=False)
    return Placement(
        order=tuple(problem.steps[s].name for s in order),
        offsets=dict(zip(names, offsets, strict=True)),
        nbytes=nbytes,
        lower_bound=floor,
        optimal=nbytes == floor,
        greedy_bytes=height_of(plain.sizes, first_fit(plain, _sequences(plain)[0])),
        liveness_bytes=max((sum(plain.sizes[b] for b in members) for members, _ in plain.groups), default=0),
    )


def _improve(model: Model, found: Found, floor: int, budget: Budget) -> tuple[Found, int]:
    """Bring an answer and its lower bound together until they meet or the budget ends."""
    untried = height = floor  # below `untried`, heights are refuted or were too hard
    grudges: dict[tuple[int, int], int] = {}
    while floor < found[0] and budget.left > 0:
        try:
            answer = decide(model, height, budget.part(2), grudges)
        except OutOfEffort:
            untried = height + 1
        else:
            if answer is None:
                untried = floor = height + 1
            else:
                found = (height_of(model.sizes, answer[1]), *answer)
        if untried >= found[0]:
            untried = floor  # what was too hard gets another share of the budget
        height = (untried + found[0] - 1) // 2
    return found, floor


def _sequences(net: Network) -> tuple[list[int], ...]:
    """Orders of placing: largest first; most crowded first; both; as they are born; the reverse."""
    born = list(range(len(net.sizes)))
    crowd = [0] * len(born)
    for a, b, _, _ in net.edges:
        crowd[a] += net.sizes[b]
        crowd[b] += net.sizes[a]
    return (
        sorted(born, key=lambda b: -net.sizes[b]),
        sorted(born, key=lambda b: -(net.sizes[b] + crowd[b])),
        sorted(born, key=lambda b: -net.sizes[b] * crowd[b]),
        born,
        born[::-1],
    )


def _greedy(model: Model, orders: Iterable[tuple[int, ...]]) -> Found:
    """The best first-fit placement over some orders and sequences; the earliest wins ties."""
    found = []
    for order in dict.fromkeys(orders):
        net = network(model, order)
        placements = (first_fit(net, sequence) for sequence in _sequences(net))
        found += [(height_of(net.sizes, offsets), order, offsets) for offsets in placements]
    return min(found, key=lambda candidate: candidate[0])


def _compile(problem: Problem) -> tuple[Model, tuple[str, ...]]:
    """The problem in integers, and the name behind each block. Blocks are numbered as they are born."""
    writer = _writers(problem)
    blocks = {name: problem.blocks[name] for name in problem.inputs}
    for step in problem.steps:
        blocks |= {name: problem.blocks[name] for name in step.writes}
        if step.scratch:
            name = scratch_name(step.name)
            blocks[name] = Block(name, step.scratch, step.scratch_align)
    number = {name: i for i, name in enumerate(blocks)}
    place = {step.name: i for i, step in enumerate(problem.steps)}

    def mask(names: Iterable[str]) -> int:
        return sum(1 << number[name] for name in set(names) if name in number and blocks[name].nbytes)

    readers = dict.fromkeys(blocks, 0)
    needs = []
    for i, step in enumerate(problem.steps):
        for name in step.reads:
            readers[name] |= 1 << i
        before = {writer[name] for name in step.reads if writer[name] is not None}
        before |= {a for a, b in problem.after if b == step.name}
        needs.append(sum(1 << place[a] for a in before if a is not None))
    model = Model(
        sizes=tuple(block.nbytes for block in blocks.values()),
        aligns=tuple(block.align for block in blocks.values()),
        reads=tuple(mask(step.reads) for step in problem.steps),
        writes=tuple(mask((*step.writes, scratch_name(step.name))) for step in problem.steps),
        needs=tuple(needs),
        permits=tuple(_permits(step, blocks, number) for step in problem.steps),
        readers=tuple(readers.values()),
        start=mask(problem.inputs),
        keep=mask(problem.outputs),
    )
    return model, tuple(blocks)


def _permits(
    step: Step, blocks: Mapping[str, Block], number: Mapping[str, int]
) -> tuple[tuple[int, int, int], ...]:
    """A step's overlaps that allow anything: one per pair, the most generous."""
    best: dict[tuple[str, str], int] = {}
    for o in step.overlaps:
        if o.x not in step.reads or o.y not in step.writes:
            raise ValueError(
                f"{step.name}: an overlap must name a block read and a block written: {o.x}, {o.y}"
            )
        if blocks[o.x].nbytes and o.distance < blocks[o.y].nbytes:
            best[o.x, o.y] = min(o.distance, best.get((o.x, o.y), o.distance))
    return tuple((number[x], number[y], distance) for (x, y), distance in best.items())


def _writers(problem: Problem) -> dict[str, str | None]:
    """Who writes each block (None: it is an input). ValueError if the problem breaks its own rules."""
    steps = [step.name for step in problem.steps]
    written = [(name, step.name) for step in problem.steps for name in step.writes]
    writer: dict[str, str | None] = {**dict.fromkeys(problem.inputs), **dict(written)}
    used = {*problem.outputs, *(name for step in problem.steps for name in step.reads)}
    complaints = (
        (len(set(steps)) < len(steps), "two steps have one name"),
        (
            len(writer) < len(written) + len(set(problem.inputs)),
            "a block is written twice, or is an input and written",
        ),
        (
            writer.keys() != problem.blocks.keys(),
            "the blocks are not exactly the inputs and what steps write",
        ),
        (not used <= writer.keys(), "a step reads, or an output is, a block that is not there"),
        (
            any(name != block.name for name, block in problem.blocks.items()),
            "a block is filed under another name",
        ),
        (
            any(b.nbytes < 0 or b.align < 1 for b in problem.blocks.values()),
            "a block has no lawful size or alignment",
        ),
        (
            any(s.scratch < 0 or s.scratch_align < 1 for s in problem.steps),
            "scratch has no lawful size or alignment",
        ),
        (
            not {name for pair in problem.after for name in pair} <= set(steps),
            "`after` names a step that is not there",
        ),
        (not writer.keys().isdisjoint(map(scratch_name, steps)), "a block has the name of a scratch"),
    )
    for wrong, what in complaints:
        if wrong:
            raise ValueError(f"malformed planning problem: {what}")
    return writer


def lifetimes(problem: Problem, order: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Per block and scratch: first and last step (positions in `order`, inclusive) at which it is alive."""
    steps = {step.name: step for step in problem.steps}
    spans = dict.fromkeys(problem.inputs, (0, 0))
    end = 0
    for end, name in enumerate(order):
        step = steps[name]
        spans |= {block: (spans[block][0], end) for block in step.reads}
        spans |= {block: (end, end) for block in step.writes}
        if step.scratch:
            spans[scratch_name(name)] = (end, end)
    return spans | {block: (spans[block][0], end) for block in problem.outputs}


def verify(problem: Problem, placement: Placement) -> tuple[str, ...]:
    """What is wrong with a placement, empty when nothing is. Shares no code with the planner.

    Walks the order step by step, keeps what is alive, and looks at each pair when the second of the two is
    born.
    """
    room = {name: (block.nbytes, block.align) for name, block in problem.blocks.items()}
    room |= {f"{s.name}#scratch": (s.scratch, s.scratch_align) for s in problem.steps if s.scratch}
    steps = {step.name: step for step in problem.steps}
    if sorted(placement.order) != sorted(steps) or placement.offsets.keys() != room.keys():
        return (
            "the order is not exactly the steps, or the offsets are not exactly the blocks and scratches",
        )
    spans = {name: (placement.offsets[name], placement.offsets[name] + n) for name, (n, _) in room.items()}
    wrong = [f"{x}: no multiple of {align}" for x, (_, align) in room.items() if spans[x][0] % align]
    wrong += [
        f"{x}: outside the arena" for x, (low, high) in spans.items() if low < 0 or high > placement.nbytes
    ]
    position = {name: i for i, name in enumerate(placement.order)}
    wrong += [f"{b}: runs before {a}" for a, b in problem.after if position[b] <= position[a]]
    pending = {name: sum(name in s.reads for s in problem.steps) + (name in problem.outputs) for name in room}
    alive: list[str] = []
    for name in problem.inputs:
        wrong += _collisions(Step("start", (), ()), name, alive, spans, pending)
        alive.append(name)
    for step in (steps[name] for name in placement.order):
        wrong += [f"{step.name}: {name} is not there to be read" for name in step.reads if name not in alive]
        for name in set(step.reads):
            pending[name] -= 1
        for name in (*step.writes, *([f"{step.name}#scratch"] if step.scratch else [])):
            wrong += _collisions(step, name, alive, spans, pending)
            alive.append(name)
        alive = [name for name in alive if pending[name]]
    return tuple(wrong)


def _collisions(
    step: Step, y: str, alive: Iterable[str], spans: Mapping[str, tuple[int, int]], pending: Mapping[str, int]
) -> list[str]:
    """Complaints about y, born in `step`, lying on something alive without the step's permission."""
    found = []
    low, high = spans[y]
    for x in alive:
        start, end = spans[x]
        lent = [o.distance for o in step.overlaps if (o.x, o.y) == (x, y) and not pending[x]]
        if max(low, start) < min(high, end) and not any(start - low >= distance for distance in lent):
            found.append(f"{step.name}: {y} at {low}..{high} lies on {x} at {start}..{end}")
    return found
