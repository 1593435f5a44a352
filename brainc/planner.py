"""The arena planner: which step runs when, and where each block of bytes lies.

Who knocks: the memory pass, with a `Problem` of named blocks and steps; it knows of graphs and kernels, this
room does not. What leaves: a `Placement` (order, offsets, arena size, the proven lower bound), the
`lifetimes` that pictures are drawn from, and an independent `verify`. Sizes and offsets are bytes. Same
problem, same placement, on every machine: the search is bounded by counted states, never by time.

Sources: largest-first greedy placement as in TFLite Micro's greedy memory planner; operator order as in
Liberis and Lane, arXiv 1910.05110; branch and bound over pairs as for disjunctive scheduling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import gcd

from brainc.planner_pack import Budget, OutOfEffort, first_fit, height_of
from brainc.planner_search import Model, Shared, decide, least_peak, network, original_order


@dataclass(frozen=True, slots=True)
class Block:
    """One tensor that needs room in the arena: size in bytes, and what its offset is a multiple of."""

    name: str
    nbytes: int
    align: int = 1


@dataclass(frozen=True, slots=True)
class Overlap:
    """A kernel's permission: y, written by this step, may share bytes with x, which the step reads.

    It holds if offset(x) - offset(y) >= distance or offset(y) - offset(x) >= below (both may be negative, or
    larger than the blocks; None is never) and x dies at this step: no later reader, and not an output. Otherwise
    x and y must be disjoint.
    """

    x: str
    y: str
    distance: int
    below: int | None = None


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

    * Bound: the least that the worst step of any order needs, and an order that shows it (`least_peak`).
    * Greedy: in that order and in the original one, put blocks one after the other at the lowest free
      offset, in a few sequences, with overlaps. The best is the first answer.
    * Exact: ask `decide` for an answer at the bound, then halfway between the two. An answer lowers the one,
      a proof that there is none raises the other.
    * The search ends when they meet, or after about `effort` search states: then the gap remains and is told.
    """
    model, names = _compile(problem)
    budget = Budget(8 * effort)
    original = original_order(model)
    calm, floor = least_peak(model, budget.part(2))
    first = min(_greedy(model, original) + _greedy(model, calm), key=lambda found: found[0])
    (nbytes, order, offsets), floor = _improve(model, first, floor, budget)
    spans = lifetimes(problem, [problem.steps[s].name for s in original])
    return Placement(
        order=tuple(problem.steps[s].name for s in order),
        offsets=dict(zip(names, offsets, strict=True)),
        nbytes=nbytes,
        lower_bound=floor,
        optimal=nbytes == floor,
        greedy_bytes=_greedy(replace(model, permits=((),) * len(original)), original)[0][0],
        liveness_bytes=max(bytes_alive(spans, dict(zip(names, model.sizes, strict=True)), len(original))),
    )


def _greedy(model: Model, order: tuple[int, ...]) -> list[Found]:
    """First-fit placements of an order: largest block first, most crowded first, last born first."""
    net = network(model, order)
    crowd = list(net.sizes)
    for a, b, _, _ in net.edges:
        crowd[a] += net.sizes[b]
        crowd[b] += net.sizes[a]
    born = range(len(crowd))
    keys: tuple[Sequence[int], ...] = (net.sizes, crowd, born)
    placements = (first_fit(net, sorted(born, key=key.__getitem__, reverse=True)) for key in keys)
    return [(height_of(net.sizes, offsets), order, offsets) for offsets in placements]


def _improve(model: Model, found: Found, floor: int, budget: Budget) -> tuple[Found, int]:
    """Bring answer and bound together; a height that is too hard to decide is left behind."""
    untried = height = floor
    while untried < found[0]:
        try:
            answer = decide(model, height, budget.part(2))
            floor = floor if answer else height + 1
        except OutOfEffort:
            answer = None
        if answer:
            found = (height_of(model.sizes, answer[1]), *answer)
        else:
            untried = height + 1
        height = (untried + found[0] - 1) // 2
    return found, floor


def _compile(problem: Problem) -> tuple[Model, tuple[str, ...]]:
    """The problem in integers, and the name behind each block. Blocks are numbered as they are born."""
    _check(problem)
    blocks = {name: problem.blocks[name] for name in problem.inputs}
    for step in problem.steps:
        blocks |= {name: problem.blocks[name] for name in step.writes}
        if step.scratch:
            name = scratch_name(step.name)
            blocks[name] = Block(name, step.scratch, step.scratch_align)
    number = {name: i for i, name in enumerate(blocks)}
    place = {step.name: i for i, step in enumerate(problem.steps)}
    maker = {name: step.name for step in problem.steps for name in step.writes}

    def mask(names: Iterable[str]) -> int:
        return sum(1 << number[name] for name in set(names) if name in number and blocks[name].nbytes)

    needs, frees, readers = [0] * len(place), [0] * len(place), dict.fromkeys(blocks, 0)
    made = [(maker[name], step.name) for step in problem.steps for name in step.reads if name in maker]
    for a, b in (*made, *problem.after):
        needs[place[b]] |= 1 << place[a]
        frees[place[a]] |= 1 << place[b]
    for step in problem.steps:
        readers |= {name: readers[name] | 1 << place[step.name] for name in step.reads}
    grain = gcd(*(block.align for block in blocks.values() if block.nbytes)) or 1
    model = Model(
        sizes=tuple(block.nbytes for block in blocks.values()),
        aligns=tuple(block.align for block in blocks.values()),
        slacks=tuple(-block.nbytes % grain for block in blocks.values()),
        reads=tuple(mask(step.reads) for step in problem.steps),
        writes=tuple(mask((*step.writes, scratch_name(step.name))) for step in problem.steps),
        needs=tuple(needs),
        frees=tuple(frees),
        permits=tuple(_permits(step, blocks, number) for step in problem.steps),
        readers=tuple(readers.values()),
        start=mask(problem.inputs),
        keep=mask(problem.outputs),
    )
    return model, tuple(blocks)


def _permits(step: Step, blocks: Mapping[str, Block], number: Mapping[str, int]) -> tuple[Shared, ...]:
    """A step's overlaps that allow anything: one per pair, the most generous."""
    if any(o.x not in step.reads or o.y not in step.writes for o in step.overlaps):
        raise ValueError(f"{step.name}: an overlap must name a block read and a block written")
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for o in (o for o in step.overlaps if blocks[o.x].nbytes):
        apart = blocks[o.y].nbytes, blocks[o.x].nbytes  # where y lies below x, or above it, without permission
        lent = min(o.distance, apart[0]), apart[1] if o.below is None else min(o.below, apart[1])
        known = best.get((number[o.x], number[o.y]), apart)
        if lent != apart:
            best[number[o.x], number[o.y]] = min(lent[0], known[0]), min(lent[1], known[1])
    return tuple((x, y, *lent) for (x, y), lent in best.items())


def _check(problem: Problem) -> None:
    """ValueError if the problem breaks its own rules."""
    steps = [step.name for step in problem.steps]
    born = [*set(problem.inputs), *(name for step in problem.steps for name in step.writes)]
    used = {*problem.outputs, *(name for step in problem.steps for name in step.reads)}
    room = [(b.nbytes, b.align) for b in problem.blocks.values()]
    room += [(s.scratch, s.scratch_align) for s in problem.steps]
    complaints = (
        (len(set(steps)) < len(steps), "two steps have one name"),
        (len(set(born)) < len(born), "a block is written twice, or is an input and written"),
        (set(born) != problem.blocks.keys(), "the blocks are not the inputs and what steps write"),
        (not used <= set(born), "a step reads, or an output is, a block that is not there"),
        (any(n != b.name for n, b in problem.blocks.items()), "a block is filed under another name"),
        (any(n < 0 or align < 1 for n, align in room), "a block or scratch has no lawful size or alignment"),
        (not {n for pair in problem.after for n in pair} <= set(steps), "`after` names an unknown step"),
        (not set(born).isdisjoint(map(scratch_name, steps)), "a block has the name of a scratch"),
    )
    for wrong, what in complaints:
        if wrong:
            raise ValueError(f"malformed planning problem: {what}")


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


def bytes_alive(spans: Mapping[str, tuple[int, int]], sizes: Mapping[str, int], steps: int) -> list[int]:
    """Bytes alive at each step, then 0; inputs are alive even where there is no step."""
    change = [0] * (steps + 2)
    for name, (born, dies) in spans.items():
        change[born] += sizes[name]
        change[dies + 1] -= sizes[name]
    return list(accumulate(change))


def verify(problem: Problem, placement: Placement) -> tuple[str, ...]:
    """What is wrong with a placement, empty when nothing is. Shares no code with the planner.

    Walks the order, keeps what is alive, and looks at each pair when the second of the two is born.
    """
    room = {name: (block.nbytes, block.align) for name, block in problem.blocks.items()}
    room |= {f"{s.name}#scratch": (s.scratch, s.scratch_align) for s in problem.steps if s.scratch}
    steps = {step.name: step for step in problem.steps}
    if sorted(placement.order) != sorted(steps) or placement.offsets.keys() != room.keys():
        return ("the order is not exactly the steps, or the offsets not exactly blocks and scratches",)
    spans = {name: (placement.offsets[name], placement.offsets[name] + n) for name, (n, _) in room.items()}
    wrong = [f"{x}: no multiple of {align}" for x, (_, align) in room.items() if spans[x][0] % align]
    outside = [x for x, (low, high) in spans.items() if low < 0 or high > placement.nbytes]
    wrong += [f"{x}: outside the arena" for x in outside]
    when = placement.order.index
    wrong += [f"{b}: runs before {a}" for a, b in problem.after if when(b) <= when(a)]
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
        lent = [o for o in step.overlaps if (o.x, o.y) == (x, y) and not pending[x]]
        allowed = any(start - low >= o.distance or (o.below is not None and low - start >= o.below) for o in lent)
        if max(low, start) < min(high, end) and not allowed:
            found.append(f"{step.name}: {y} at {low}..{high} lies on {x} at {start}..{end}")
    return found
