"""Which layers are to run row by row, where that is what makes a brain fit.

Who knocks: the compiler, when RAM is what is missing. What leaves: chains and the plan with them. Tried are runs of
nodes in the order of the graph that hold the step which needs most: all of them as drafts, the best of these as
plans. The cheapest that fits wins, else the smallest; then the step that needs most now is asked. Searches are bounded
by counts, so the same graph gets the same chains everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from brainc import memory, planner, weave
from brainc.chain import Chain
from brainc.ir import Entry, Graph
from brainc.kernels import Choice, KernelTable
from brainc.memory import Plan
from brainc.planner import Overlap, Problem
from brainc.weave import Draft, Loom

DRAFTS = 2000  # looked at for one chain
TRIALS = 8  # of them planned
CHAINS = 4  # in an entry

Choices = Mapping[str, Choice]


@dataclass(frozen=True, slots=True)
class Streamed:
    """A plan with chains: the kernels of their rows are among `choices`."""

    choices: Choices
    plan: Plan
    cost: float

    @property
    def chains(self) -> tuple[Chain, ...]:
        return tuple(chain for entry in self.plan.entries for chain in entry.chains.values())


@dataclass(frozen=True, slots=True)
class _Search:
    """What is asked: a graph, its kernels, and the bytes that its arena should have."""

    graph: Graph
    table: KernelTable
    choices: Choices
    align: int
    room: int


def by_rows(graph: Graph, table: KernelTable, choices: Choices, plan: Plan, room: int) -> Streamed | None:
    """The cheapest plan of at most `room` bytes of arena and state, else the smallest; None if none is smaller."""
    search = _Search(graph, table, choices, plan.align, room - plan.state)
    chains: dict[str, tuple[Chain, ...]] = {}
    best = Streamed(choices, plan, sum(c.cost for c in choices.values()))
    looms = {entry.name: Loom(graph, entry, table, plan.align) for entry in graph.entries}
    for _ in range(CHAINS):
        worst = max(best.plan.entries, key=lambda e: e.placement.nbytes)
        entry = next(e for e in graph.entries if e.name == worst.name)
        found = _one_more(search, looms[entry.name], entry, chains, best)
        if found is None:
            break
        chains, best = found
        if best.plan.arena <= search.room:
            break
    return best if chains else None


def _one_more(
    search: _Search, loom: Loom, entry: Entry, chains: Mapping[str, tuple[Chain, ...]], before: Streamed
) -> tuple[dict[str, tuple[Chain, ...]], Streamed] | None:
    """One chain more in an entry, if it makes the plan smaller."""
    old = chains.get(entry.name, ())
    drafts = sorted(_drafts(search, loom, entry, old), key=lambda found: found[0])
    best: tuple[tuple[int, float], dict[str, tuple[Chain, ...]], Streamed] | None = None
    for _, draft in drafts[:TRIALS]:
        chain = weave.weave(loom, draft)
        tried = {**chains, entry.name: (*old, chain)}
        choices = {**search.choices, **{n: c for all_ in tried.values() for k in all_ for n, c in k.choices().items()}}
        plan = memory.plan(search.graph, choices, align=search.align, chains=tried)
        inner = {n.name for all_ in tried.values() for k in all_ for n in k.nodes}
        cost = sum(c.cost for n, c in search.choices.items() if n not in inner)
        cost += sum(k.cost for all_ in tried.values() for k in all_)
        merit = max(plan.arena, search.room), cost
        if plan.arena < before.plan.arena and (best is None or merit < best[0]):
            best = merit, tried, Streamed(choices, plan, cost)
    return best[1:] if best else None


def _drafts(
    search: _Search, loom: Loom, entry: Entry, old: Sequence[Chain]
) -> Iterator[tuple[tuple[int, float, int], Draft]]:
    """Chains that hold the step that needs most, each with what it would be chosen by: bytes, then cost."""
    problem = memory.problem_of(search.graph, entry, search.choices, search.align, old)
    needs = _needs(problem, [s.name for s in problem.steps])
    taken = {n.name for chain in old for n in chain.nodes}
    nodes = [n for n in entry.nodes if n.op != "reshape"]
    worst = max((n for n in nodes if n.name in needs), key=lambda n: needs[n.name], default=None)
    if worst is None:
        return
    middle, left = nodes.index(worst), DRAFTS
    for first in range(middle, -1, -1):
        if nodes[first].name in taken or loom.forms[nodes[first].name] is None:
            break
        for end in range(middle + 1, len(nodes) + 1):
            if nodes[end - 1].name in taken or loom.forms[nodes[end - 1].name] is None or left == 0:
                break
            left -= 1
            chosen = nodes[first:end]
            draft = weave.draft(loom, chosen) if len(chosen) > 1 else None
            if draft is not None:
                names = {n.name for n in chosen}
                beside = max((n for s, n in needs.items() if s not in names), default=0)
                most = max(beside, _need(loom, draft, problem))
                yield (max(most, search.room), _cost(loom, draft, search.choices), len(chosen)), draft


def _needs(problem: Problem, order: Sequence[str]) -> dict[str, int]:
    """Bytes that each step cannot do without: what is alive, less what its best overlap spares."""
    lives = planner.lifetimes(problem, order)
    sizes = {name: block.nbytes for name, block in problem.blocks.items()}
    sizes |= {planner.scratch_name(s.name): s.scratch for s in problem.steps}
    steps = {s.name: s for s in problem.steps}
    alive, needs = planner.bytes_alive(lives, sizes, len(order)), {}
    for tick, name in enumerate(order):
        laps = [o for o in steps[name].overlaps if lives[o.x][1] == tick]
        needs[name] = alive[tick] - max((_spared(sizes[o.x], sizes[o.y], o) for o in laps), default=0)
    return needs


def _spared(x: int, y: int, lap: Overlap) -> int:
    """Bytes that x and y have in common at best."""
    ways = [max(y, x + max(lap.distance, 0))]
    ways += [max(x, y + max(lap.below, 0))] if lap.below is not None else []
    return max(0, x + y - min(ways))


def _need(loom: Loom, draft: Draft, problem: Problem) -> int:
    """Bytes alive while a chain runs, at least: what passes by, its ends, its windows."""
    names = {n.name for n in draft.nodes}
    index = [i for i, s in enumerate(problem.steps) if s.name in names]
    lives = planner.lifetimes(problem, [s.name for s in problem.steps])
    sizes = {name: block.nbytes for name, block in problem.blocks.items() if name not in draft.inside}
    born = {name: size for name, size in sizes.items() if lives[name][0] < index[0] or name in problem.inputs}
    after = sum(size for name, size in born.items() if lives[name][1] > index[-1])
    used = sum(size for name, size in born.items() if index[0] <= lives[name][1] <= index[-1])
    made = sum(problem.blocks[name].nbytes for name in draft.whole)
    rows = sum(w.nbytes for name, w in draft.windows.items() if not draft.passing(name))
    passing = [loom.row(n) for n in draft.windows if draft.passing(n)]
    scratch = max(c.scratch for n in draft.nodes for c in loom.choices(n))
    return after + max(used, made) + rows + max([0, *passing]) + scratch


def _cost(loom: Loom, draft: Draft, choices: Choices) -> float:
    """What running these layers by rows costs more than running them one after the other."""
    run = sum(draft.beats[n.name].count * loom.choices(n)[0].cost - choices[n.name].cost for n in draft.nodes)
    return run + 2 * sum(w.reach * w.row * (w.rows - 1) for w in draft.windows.values())
