"""Where every value lives: lifetimes, operator order, overlaps, one arena for the whole brain.

Called after kernels are chosen, since scratch and overlap belong to them. A view (`reshape`) shares its
operand's bytes; entries never run together, so their arenas overlap; states lie behind the arena for good.
Ports live in the arena, always: a port left with its caller takes its bytes all the time, and an arena in which it has
a place of its own is no larger than that plan and the caller's bytes together. The search itself is `planner.py`,
which knows nothing of graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from brainc import ops, planner
from brainc.chain import Chain
from brainc.dtypes import Array
from brainc.expressions import evaluate
from brainc.ir import Entry, Graph, Node, Role
from brainc.kernels import Choice
from brainc.planner import Block, Overlap, Placement, Problem, Step

Chains = Mapping[str, Sequence[Chain]]
NONE: Chains = {}


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the brain's struct: bytes from its start, and the steps during which it is taken."""

    offset: int
    nbytes: int
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """One entry: its nodes in execution order, a slot per value (and per node that needs scratch).

    `down` names the nodes that make their last row first, since their result lies behind what they read. `chains`:
    nodes that run row by row as one step, by its name; values inside them have no slot, their windows are its scratch.
    """

    name: str
    nodes: tuple[Node, ...]
    slots: Mapping[str, Slot]
    scratch: Mapping[str, Slot]
    down: frozenset[str]
    placement: Placement
    chains: Mapping[str, Chain]

    def step_nodes(self) -> Iterator[tuple[str, tuple[Node, ...]]]:
        """(name, nodes) of each step in the order of execution; of a chain all of its nodes."""
        single = {node.name: (node,) for node in self.nodes}
        for step in self.placement.order:
            yield step, self.chains[step].nodes if step in self.chains else single[step]


@dataclass(frozen=True, slots=True)
class Plan:
    """The memory of a brain: `arena` bytes shared by the entries, then `state` bytes."""

    arena: int
    state: int
    lower_bound: int
    optimal: bool
    align: int
    entries: tuple[EntryPlan, ...]
    states: Mapping[str, Slot]

    @property
    def nbytes(self) -> int:
        return self.arena + self.state

    @property
    def proof(self) -> str:
        """What is known of smaller arenas, for people."""
        chained = "with these layers by rows " if any(e.chains for e in self.entries) else ""
        return f"{chained}no plan needs less" + ("" if self.optimal else f" than {self.lower_bound:,}")


def plan(graph: Graph, choices: Mapping[str, Choice], *, align: int, chains: Chains = NONE) -> Plan:
    """The plan of a READY graph; `align` bytes is the least alignment of anything (the target's word).

    `chains`: by the name of an entry, what of it runs row by row.
    """
    entries = tuple(_plan_entry(graph, e, choices, align, chains.get(e.name, ())) for e in graph.entries)
    arena = max((e.placement.nbytes for e in entries), default=0)
    states: dict[str, Slot] = {}
    end = arena
    for value in graph.values.values():
        if value.role is Role.STATE:
            step = max(align, value.type.dtype.nbytes)
            start = -(-end // step) * step
            states[value.name] = Slot(start, value.type.nbytes)
            end = start + value.type.nbytes
    return Plan(
        arena=arena,
        state=end - arena,
        lower_bound=max((e.placement.lower_bound for e in entries), default=0),
        optimal=all(e.placement.optimal for e in entries),
        align=align,
        entries=entries,
        states=states,
    )


def problem_of(
    graph: Graph, entry: Entry, choices: Mapping[str, Choice], align: int, chains: Sequence[Chain] = ()
) -> Problem:
    """The planner's view of an entry: blocks (values that share bytes are one), steps, permissions."""
    home = homes(graph, entry)
    inner = {name: chain for chain in chains for name in (n.name for n in chain.nodes)}
    inside = _inside(entry, chains, home)
    blocks: dict[str, Block] = {}
    for name in (n for n in home if n not in inside):
        type_, old = graph.type(name), blocks.get(home[name])
        least = max(align, type_.dtype.nbytes, old.align if old else 1)
        blocks[home[name]] = Block(home[name], max(type_.nbytes, old.nbytes if old else 0), least)
    steps, chained = list[Step](), set[str]()
    for n in entry.nodes:
        if n.name in inner and inner[n.name].name not in chained:
            chained.add(inner[n.name].name)
            steps.append(_chain_step(inner[n.name], align))
        elif n.op != "reshape" and n.name not in inner:
            steps.append(_step(graph, n, choices[n.name], home, align))
    ins = tuple(dict.fromkeys(home[i] for i in entry.inputs))
    outs = tuple(dict.fromkeys(home[o] for o in entry.outputs))
    return Problem(blocks, tuple(steps), ins, outs, _after_state(graph, entry))


def _inside(entry: Entry, chains: Sequence[Chain], home: Mapping[str, str]) -> set[str]:
    """The values that are never whole, with their views."""
    made = {home[o]: chain for chain in chains for n in chain.nodes for o in n.outputs}
    return {name for name, block in home.items() if block in made and block not in made[block].writes}


def _chain_step(chain: Chain, align: int) -> Step:
    """A chain as the planner sees it: its windows are scratch."""
    laps = tuple(Overlap(x, y, distance) for x, y, distance in chain.laps)
    return Step(chain.name, chain.reads, chain.writes, chain.nbytes, max(align, chain.align), laps)


def may_shrink(graph: Graph, entry: Entry, node: Node, choice: Choice, other: Choice) -> bool:
    """Whether `other` asks for less scratch or lets its result lie closer; if not, no plan gets smaller by it."""
    home = homes(graph, entry)
    known = {o.x: o for o in overlaps(graph, node, choice, home)}

    def closer(o: Overlap) -> bool:
        old = known.get(o.x, Overlap(o.x, o.y, graph.type(node.outputs[0]).nbytes))
        return o.distance < old.distance or (o.below is not None and (old.below is None or o.below < old.below))

    return other.scratch < choice.scratch or any(map(closer, overlaps(graph, node, other, home)))


def _plan_entry(
    graph: Graph, entry: Entry, choices: Mapping[str, Choice], align: int, chains: Sequence[Chain]
) -> EntryPlan:
    problem = problem_of(graph, entry, choices, align, chains)
    placement = planner.plan(problem)
    lives = planner.lifetimes(problem, placement.order)
    slots = {
        name: Slot(placement.offsets[block], graph.type(name).nbytes, *lives[block])
        for name, block in homes(graph, entry).items()
        if block in problem.blocks
    }
    sizes = {step.name: step.scratch for step in problem.steps}
    scratch = {
        step: Slot(placement.offsets[planner.scratch_name(step)], sizes[step], index, index)
        for index, step in enumerate(placement.order)
        if sizes[step]
    }
    by_name = {n.name: (n,) for n in entry.nodes} | {chain.name: chain.nodes for chain in chains}
    nodes = tuple(n for step in placement.order for n in by_name[step])
    down = frozenset(step.name for step in problem.steps if _runs_down(step, problem.blocks, placement.offsets))
    return EntryPlan(entry.name, nodes, slots, scratch, down, placement, {chain.name: chain for chain in chains})


def _runs_down(step: Step, blocks: Mapping[str, Block], offsets: Mapping[str, int]) -> bool:
    """Whether the step's result lies over an operand where only rows made from the last to the first are right."""
    laps = [(o, offsets[o.x] - offsets[o.y]) for o in step.overlaps if o.below is not None]
    return any(-blocks[o.x].nbytes < gap < min(o.distance, blocks[o.y].nbytes) for o, gap in laps)


def homes(graph: Graph, entry: Entry) -> dict[str, str]:
    """Value name to the name of the block it lives in: a view lives where its operand does."""
    home = {name: name for name in entry.inputs}
    for node in entry.nodes:
        for out in node.outputs:
            view = node.op == "reshape" and node.inputs[0] in home
            home[out] = home[node.inputs[0]] if view else out
    return home


def _step(graph: Graph, node: Node, choice: Choice, home: Mapping[str, str], align: int) -> Step:
    reads = tuple(dict.fromkeys(home[i] for i in node.operands if i in home))
    writes = tuple(dict.fromkeys(home[o] for o in node.outputs))
    allowed = tuple(overlaps(graph, node, choice, home))
    return Step(node.name, reads, writes, choice.scratch, align, allowed)


def overlaps(graph: Graph, node: Node, choice: Choice, home: Mapping[str, str]) -> list[Overlap]:
    """The kernel's permissions, turned from rows into bytes."""
    if len(node.outputs) != 1 or choice.env.get("B", 1) != 1:
        return []
    y = home[node.outputs[0]]
    names = [ops.get(node.op).operand_at(i).name for i in range(len(node.inputs))]
    operands = {n: home[i] for n, i in zip(names, node.inputs, strict=True) if i in home}
    found = [
        Overlap(operands[x], y, _element_distance(graph, node, names.index(x)))
        for x in choice.kernel.inplace
        if x in operands
    ]
    if choice.kernel.rows:
        for x, reads in choice.kernel.reads.items():
            if x in operands:
                x_bytes = graph.type(node.inputs[names.index(x)]).nbytes
                found.append(
                    Overlap(operands[x], y, *_row_distances(graph.type(node.outputs[0]).nbytes, x_bytes, reads, choice))
                )
    readers = [home.get(i) for i in node.operands]
    found = [o for o in found if o.x != o.y and readers.count(o.x) == 1]
    return found if len(found) == 1 else [replace(o, below=None) for o in found]  # two might ask for two directions


def _element_distance(graph: Graph, node: Node, index: int) -> int:
    """How far behind y's start x must begin for a kernel that reads element i, then writes it, ascending."""
    x, y = graph.type(node.inputs[index]), graph.type(node.outputs[0])
    return max(0, y.size * (y.dtype.nbytes - x.dtype.nbytes))


def _row_distances(y_bytes: int, x_bytes: int, reads: tuple[str, ...], choice: Choice) -> tuple[int, int | None]:
    """The same for a kernel by the row: no row of y is written over a row of x that is still needed.

    `reads`: how many rows x has, the first of them that row r of y still reads and, if the kernel can also run from
    the last row to the first, the last of them. Row r of y lies at r * y_row: behind its end, running up, must come
    all that it and later rows read; before its beginning, running down, must end all that it and earlier ones read.
    """
    rows, x_rows = int(evaluate(choice.kernel.rows, choice.env)), int(evaluate(reads[0], choice.env))
    y_row, x_row, r = y_bytes // rows, x_bytes // x_rows, np.arange(rows)

    def row(formula: str) -> Array:
        found: Array = np.clip(evaluate(formula, {**choice.env, "r": r}) + 0 * r, 0, x_rows)
        return found

    first = np.minimum.accumulate(row(reads[1])[::-1])[::-1]
    up = int(((r + 1) * y_row - first * x_row).max())
    if len(reads) < 3:
        return up, None
    return up, int((np.maximum.accumulate(row(f"{reads[2]} + 1")) * x_row - r * y_row).max())


def _after_state(graph: Graph, entry: Entry) -> tuple[tuple[str, str], ...]:
    """Order that data alone does not show: who reads or writes a state stays in the order of the graph."""
    last: dict[str, list[str]] = {}
    pairs = []
    for node in entry.nodes:
        for name in node.operands:
            if graph.values[name].role is Role.STATE:
                touched = last.setdefault(name, [])
                pairs += [(before, node.name) for before in touched]
                touched.append(node.name)
    return tuple(dict.fromkeys(pairs))


def peak(plan: Plan) -> str:
    """The step that needs most, with what is alive there: the sentence for those who must fit it."""
    entry = max(plan.entries, key=lambda e: e.placement.nbytes)

    def alive(index: int, step: str) -> list[tuple[int, str]]:
        slots = [(name, s) for name, s in entry.slots.items() if s.first <= index <= s.last]
        told = {(s.offset, s.first): (s.nbytes, name) for name, s in reversed(slots)}  # a view with its operand
        scratch = [(entry.scratch[step].nbytes, "scratch")] if step in entry.scratch else []
        return sorted(told.values(), reverse=True) + scratch

    steps = [(step, alive(index, step)) for index, step in enumerate(entry.placement.order)]
    worst, blocks = max(steps, key=lambda s: sum(nbytes for nbytes, _ in s[1]))
    return f"at {worst}: " + " + ".join(f"{name} {nbytes:,}" for nbytes, name in blocks)
