"""The arena planner: which step runs when, and where each block of bytes lies.

Who knocks: the memory pass, with a `Problem` of named blocks and steps; it knows of graphs and kernels, this room does
not. What leaves: a `Placement` (order, offsets, arena size, the proven lower bound), the `lifetimes` that pictures
are drawn from, and an independent `verify`. Sizes and offsets are bytes. Same problem, same placement, on every
machine: the search is bounded by counted states, never by time.

Sources: largest-first greedy placement as in TFLite Micro's greedy memory planner; operator order as in Liberis and Lane,
arXiv 1910.05110; branch and bound over pairs as for disjunctive scheduling, with weights after Boussemart et al.,
"Boosting systematic search by weighting constraints", ECAI 2004.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .planner_pack import Budget, Network, OutOfEffort, first_fit, height_of
from .planner_search import Model, decide, floor_of_any_order, least_peak, modest_order, network


@dataclass(frozen=True, slots=True)
class Block:
    """One tensor that needs room in the arena: its size in bytes and what its offset must be a multiple of."""

    name: str
    nbytes: int
    align: int = 1


@dataclass(frozen=True, slots=True)
class Overlap:
    """A kernel's permission: y, written by this step, may share bytes with x, which the step reads.

    It holds if offset(x) - offset(y) >= distance (which may be negative, or larger than the blocks) and x dies at this
    step: no later reader, and not an output. Otherwise x and y must be disjoint.
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

    `inputs` are alive from the very beginning to their last reader (one that nobody reads: during the first step only),
    `outputs` to the very end. `after`: pairs (a, b) of step names, b runs after a, besides what the data ask for.
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
    `lower_bound`: proven over all orders and placements. `optimal`: nothing smaller exists. `greedy_bytes`: largest-first
    greedy in the original order without overlaps. `liveness_bytes`: most bytes alive at a step of the original order,
    without overlaps.
    """

    order: tuple[str, ...]
    offsets: Mapping[str, int]
    nbytes: int
    lower_bound: int
    optimal: bool
    greedy_bytes: int
    liveness_bytes: int


def scratch_name(step: str) -> str:
    """The name under which a step's scratch is placed."""
    return f"{step}#scratch"


def plan(problem: Problem, *, effort: int = 20_000) -> Placement:
    """Order the steps and place the blocks in as few bytes as can be found. ValueError if the problem is malformed.

    * Bound: the order whose worst step needs least, over all orders, or a bound on it (`least_peak`).
    * Greedy: in the original order and in those found so far, put blocks one after the other at the lowest free offset,
      largest first and in a few other sequences, with overlaps. The best is the first answer.
    * Exact: while the answer is above the bound, ask `decide` for one within a height between the two: the bound itself
      first, then halfway. An answer lowers the one, a proof that there is none raises the other.
    * The search ends when the two meet, or after `effort` search states: then the gap remains and is told.
    """
    model, names = _compile(problem)
    budget = Budget(8 * effort)
    floor = floor_of_any_order(model)
    original = model.plain_order()
    calm, floor = least_peak(model, floor, budget.part(2))
    nbytes, order, offsets = _greedy(model, (original, modest_order(model), calm or original))
    untried, height = floor, floor  # below `untried`, heights are refuted or were too hard
    grudges: dict[tuple[int, int], int] = {}
    while floor < nbytes and budget.left > 0:
        try:
            answer = decide(model, height, budget.part(2), grudges)
        except OutOfEffort:
            untried = height + 1
        else:
            if answer is None:
                untried = floor = height + 1
            else:
                order, offsets = answer
                nbytes = height_of(model.sizes, offsets)
        if untried >= nbytes:
            untried = floor
        height = (untried + nbytes - 1) // 2
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


def _sequences(net: Network) -> tuple[list[int], ...]:
    """Orders in which to place blocks: largest first; most crowded first; both; as they are born; the reverse."""
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


def _greedy(model: Model, orders: Iterable[tuple[int, ...]]) -> tuple[int, tuple[int, ...], list[int]]:
    """The best first-fit placement over some orders and sequences: bytes, order, offsets. The earliest wins ties."""
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


def _permits(step: Step, blocks: Mapping[str, Block], number: Mapping[str, int]) -> tuple[tuple[int, int, int], ...]:
    """A step's overlaps that allow anything: one per pair, the most generous."""
    best: dict[tuple[str, str], int] = {}
    for o in step.overlaps:
        if o.x not in step.reads or o.y not in step.writes:
            raise ValueError(f"{step.name}: an overlap must name a block read and a block written: {o.x}, {o.y}")
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
        (len(writer) < len(written) + len(set(problem.inputs)), "a block is written twice, or is an input and written"),
        (writer.keys() != problem.blocks.keys(), "the blocks are not exactly the inputs and what steps write"),
        (not used <= writer.keys(), "a step reads, or an output is, a block that is not there"),
        (any(name != block.name for name, block in problem.blocks.items()), "a block is filed under another name"),
        (any(b.nbytes < 0 or b.align < 1 for b in problem.blocks.values()), "a block has no lawful size or alignment"),
        (any(s.scratch < 0 or s.scratch_align < 1 for s in problem.steps), "scratch has no lawful size or alignment"),
        (not {name for pair in problem.after for name in pair} <= set(steps), "`after` names a step that is not there"),
        (not writer.keys().isdisjoint(map(scratch_name, steps)), "a block has the name of a scratch"),
    )
    for wrong, what in complaints:
        if wrong:
            raise ValueError(f"malformed planning problem: {what}")
    return writer


def lifetimes(problem: Problem, order: Iterable[str]) -> dict[str, tuple[int, int]]:
    """For each block and scratch, the first and the last step (positions in `order`, inclusive) at which it is alive."""
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
    """What is wrong with a placement: one complaint each, empty when it is right. Shares no code with the planner.

    Walks the order step by step, keeps what is alive, and looks at each pair when the second of the two is born.
    """
    room = {name: (block.nbytes, block.align) for name, block in problem.blocks.items()}
    room |= {f"{s.name}#scratch": (s.scratch, s.scratch_align) for s in problem.steps if s.scratch}
    steps = {step.name: step for step in problem.steps}
    if sorted(placement.order) != sorted(steps) or placement.offsets.keys() != room.keys():
        return ("the order is not exactly the steps, or the offsets are not exactly the blocks and scratches",)
    span = {name: (placement.offsets[name], placement.offsets[name] + nbytes) for name, (nbytes, _) in room.items()}
    wrong = [f"{name}: offset {span[name][0]} is no multiple of {a}" for name, (_, a) in room.items() if span[name][0] % a]
    wrong += [f"{name}: outside the arena" for name, (low, high) in span.items() if low < 0 or high > placement.nbytes]
    pending = {name: sum(name in s.reads for s in problem.steps) + (name in problem.outputs) for name in room}
    alive: list[str] = []
    written, ran = set(problem.inputs), set[str]()
    for step in (Step("the start", (), problem.inputs), *(steps[name] for name in placement.order)):
        wrong += [f"{step.name}: runs before {b} is written" for b in step.reads if b not in written]
        wrong += [f"{step.name}: runs before {a}" for a, b in problem.after if b == step.name and a not in ran]
        ran.add(step.name)
        for name in set(step.reads):
            pending[name] -= 1
        for name in (*step.writes, *([f"{step.name}#scratch"] if step.scratch else [])):
            wrong += [
                f"{step.name}: {name} {span[name]} lies on {other} {span[other]}"
                for other in alive
                if max(span[name][0], span[other][0]) < min(span[name][1], span[other][1])
                and not any(
                    (o.x, o.y) == (other, name) and not pending[other] and span[other][0] - span[name][0] >= o.distance
                    for o in step.overlaps
                )
            ]
            alive.append(name)
            written.add(name)
        if ran != {"the start"} or not placement.order:
            alive = [name for name in alive if pending[name]]
    return tuple(wrong)
