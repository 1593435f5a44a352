"""Many threads on one entry: who runs which step, where its values lie, and where all of them must meet.

Knocks: the compiler, for a brain that runs on a desktop. Leaves: a `Layout`. Every thread runs every step: a call made
in shares does those of its thread, and a call of one share is made by each thread, into memory of its own, so that
nobody waits for it; one that changes a state, or that has shares in some accents only, is made by the first thread
alone. Threads meet (at a barrier) only where a step touches bytes that another thread may have written, or may still
read, since they last met.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from brainc import planner
from brainc.expressions import evaluate
from brainc.ir import Entry, Graph, Node, Role
from brainc.kernels import Choice
from brainc.memory import homes
from brainc.planner import Block, Placement, Problem, Step
from brainc.spec import changes_state

ALIGN = 64  # a cache line: what two threads write lies in different ones
EFFORT = 500  # of the planner: between two meetings little can be arranged in another way
Range = tuple[int, int]  # bytes of the memory that all threads share: from, to before
Choices = Mapping[str, Choice]


class Who(enum.Enum):
    """Which threads run a step."""

    SHARES = "each its shares"
    EACH = "each all of it, for itself"
    FIRST = "the first one"


@dataclass(frozen=True, slots=True)
class Touch:
    """What a step does with the memory that all share. One that each runs for itself writes nothing there."""

    who: Who
    reads: tuple[Range, ...]
    writes: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Home:
    """Where a value lies: bytes from the start of what all share or, `own`, of what each thread has."""

    offset: int
    nbytes: int
    own: bool = False


@dataclass(frozen=True, slots=True)
class EntryLayout:
    """One entry: its steps, who runs each, where its values and scratch lie, and the steps before which all meet.

    `scratch`: by the name of a node, bytes from the start of a thread's own memory.
    """

    name: str
    nodes: tuple[Node, ...]
    who: Mapping[str, Who]
    homes: Mapping[str, Home]
    scratch: Mapping[str, int]
    meets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Layout:
    """The memory of a brain with threads: `arena` bytes that all share, the states behind it, `own` bytes a thread."""

    arena: int
    state: int
    own: int
    states: Mapping[str, Home]
    entries: tuple[EntryLayout, ...]

    def nbytes(self, threads: int) -> int:
        return self.arena + self.state + threads * self.own


def meetings(steps: Sequence[Touch]) -> tuple[int, ...]:
    """The steps before which all threads must meet, the least that is right, each as late as it may be.

    Between two meetings nobody writes what another thread reads or writes. What the first thread does alone it does in
    order.
    """
    found, start = list[int](), 0
    for index, step in enumerate(steps):
        if any(_clash(before, step) for before in steps[start:index]):
            found.append(index)
            start = index
    return tuple(found)


def _clash(a: Touch, b: Touch) -> bool:
    if a.who is b.who is Who.FIRST:
        return False
    pairs = ((a.writes, b.reads), (a.writes, b.writes), (a.reads, b.writes))
    return any(max(x[0], y[0]) < min(x[1], y[1]) for xs, ys in pairs for x in xs for y in ys)


def lay_out(graph: Graph, accents: Sequence[Choices]) -> Layout:
    """Who, where and when, for kernels chosen once for each accent: one layout that is right for all of them."""
    entries = [_entry(graph, entry, accents) for entry in graph.entries]
    arena = _aligned(max(shared.nbytes for _, shared, _ in entries))
    own = _aligned(max(private.nbytes for _, _, private in entries))
    states, end = dict[str, Home](), arena
    for value in graph.values.values():
        if value.role is Role.STATE:
            states[value.name] = Home(end, value.type.nbytes)
            end = _aligned(end + value.type.nbytes)
    final = tuple(_met(graph, replace(layout, homes={**layout.homes, **states})) for layout, _, _ in entries)
    return Layout(arena, end - arena, own, states, final)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN


def shares(choice: Choice) -> int:
    """Of how many shares a call is made."""
    return int(evaluate(choice.kernel.split, choice.env)) if choice.kernel.split else 1


def _who(node: Node, accents: Sequence[Choices]) -> Who:
    chosen = [choices[node.name] for choices in accents]
    if max(map(shares, chosen)) == 1:
        return Who.FIRST if changes_state(node) else Who.EACH
    return Who.SHARES if all(c.kernel.split for c in chosen) else Who.FIRST  # a kernel without would do all of it


def _entry(graph: Graph, entry: Entry, accents: Sequence[Choices]) -> tuple[EntryLayout, Placement, Placement]:
    """(its layout, the plan of what all share, that of a thread's own memory).

    First every value has a place of its own, which says where threads must meet. What is shared is then planned as if
    all between two meetings were one step, so that no two values of these lie on each other.
    """
    nodes, home = tuple(n for n in entry.nodes if n.op != "reshape"), homes(graph, entry)
    who = {node.name: _who(node, accents) for node in nodes}
    own = {home[o] for node in nodes if who[node.name] is Who.EACH for o in node.outputs}
    blocks = {b: Block(b, graph.type(b).nbytes, ALIGN) for b in home.values()}
    ends, apart = 0, dict[str, Home]()
    states = {v.name: v.type.nbytes for v in graph.values.values() if v.role is Role.STATE}
    for name, nbytes in [*((b, blocks[b].nbytes) for b in blocks if b not in own), *states.items()]:
        apart[name], ends = Home(ends, nbytes), ends + nbytes
    apart |= {name: replace(apart[b], nbytes=graph.type(name).nbytes) for name, b in home.items() if b not in own}
    met = {nodes[index].name for index in meetings([_touch(node, who[node.name], apart) for node in nodes])}
    steps = [_step(node, home, max(c[node.name].scratch for c in accents)) for node in nodes]
    ins, outs = (tuple(dict.fromkeys(home[p] for p in ports)) for ports in (entry.inputs, entry.outputs))
    shared = _planned(blocks.keys() - own, list(_phases(steps, met)), blocks, ins, outs)
    private = _planned(own, steps, blocks, ins, outs)
    places = {n: (private if b in own else shared).offsets[b] for n, b in home.items()}
    found = {n: Home(places[n], graph.type(n).nbytes, home[n] in own) for n in home}
    scratch = {s.name: private.offsets[planner.scratch_name(s.name)] for s in steps if s.scratch}
    return EntryLayout(entry.name, nodes, who, found, scratch, frozenset(met)), shared, private


def _touch(node: Node, who: Who, places: Mapping[str, Home]) -> Touch:
    def ranges(names: Sequence[str]) -> tuple[Range, ...]:
        found = (places[n] for n in names if n in places and not places[n].own)
        return tuple((p.offset, p.offset + p.nbytes) for p in found)

    return Touch(who, ranges(node.operands), ranges([*node.outputs, *(node.inputs[:1] if changes_state(node) else ())]))


def _step(node: Node, home: Mapping[str, str], scratch: int) -> Step:
    reads = tuple(dict.fromkeys(home[i] for i in node.operands if i in home))
    return Step(node.name, reads, tuple(dict.fromkeys(home[o] for o in node.outputs)), scratch, ALIGN)


def _phases(steps: Sequence[Step], met: set[str]) -> Iterator[Step]:
    """All steps between two meetings as one."""
    group = list[Step]()
    for step in [*steps, None]:
        if step is None or step.name in met:
            writes = tuple(w for s in group for w in s.writes)
            reads = dict.fromkeys(r for s in group for r in s.reads if r not in writes)
            yield Step(group[0].name if group else "nothing", tuple(reads), writes)
            group = []
        if step is not None:
            group.append(step)


def _planned(
    wanted: set[str], steps: Sequence[Step], blocks: Mapping[str, Block], ins: Sequence[str], outs: Sequence[str]
) -> Placement:
    """These blocks and the scratch of these steps in as few bytes as can be found, the steps in this order."""
    mine = [
        replace(s, reads=tuple(r for r in s.reads if r in wanted), writes=tuple(w for w in s.writes if w in wanted))
        for s in steps
    ]
    order = tuple((a.name, b.name) for a, b in pairwise(mine))
    first, last = (tuple(p for p in ports if p in wanted) for ports in (ins, outs))
    mine_blocks = {n: b for n, b in blocks.items() if n in wanted}
    return planner.plan(Problem(mine_blocks, tuple(mine), first, last, order), effort=EFFORT)


def _met(graph: Graph, layout: EntryLayout) -> EntryLayout:
    """The layout with its meetings found once more, where everything lies now."""
    touches = [_touch(node, layout.who[node.name], layout.homes) for node in layout.nodes]
    return replace(layout, meets=frozenset(layout.nodes[i].name for i in meetings(touches)))
