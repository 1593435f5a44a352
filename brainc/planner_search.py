"""The planner's search room, part one: the order of the steps.

Who knocks: `planner.plan`, with names already turned into small integers. What leaves: an order, offsets, or
a proof that none exist. Blocks and steps are bit positions, so a set is one `int`; nothing here knows a name.
Every loop is paid for from a `Budget` of counted states: the clock is never asked.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from brainc.planner_pack import Budget, Edge, Network, OutOfEffort, pack

# (x, y, distance, below): y may lie on x if offset(x) - offset(y) >= distance, or offset(y) - offset(x) >= below
Shared = tuple[int, int, int, int]


def bits(mask: int) -> Iterator[int]:
    """The set positions of `mask`, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass(frozen=True, slots=True)
class Model:
    """A problem in integers. Blocks without bytes are in no mask: they can collide with nothing.

    * `sizes`, `aligns`, `slacks` per block: bytes, and what rounding up to the common grain would add.
    * `reads`, `writes`, `needs` per step: masks of blocks read, of blocks written (scratch is one of them),
      and of steps that must come before; `frees` per step: the steps that it must come before; `permits` per
      step: the overlaps its kernel allows.
    * `readers` per block: the mask of steps that read it. `start`, `keep`: masks of inputs and of outputs.
    """

    sizes: tuple[int, ...]
    aligns: tuple[int, ...]
    slacks: tuple[int, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    needs: tuple[int, ...]
    frees: tuple[int, ...]
    permits: tuple[tuple[Shared, ...], ...]
    readers: tuple[int, ...]
    start: int
    keep: int

    def ready(self, before: int, step: int, done: int) -> int:
        """The steps that may come next when `step`, one of those ready `before`, is the last of those done."""
        return before ^ 1 << step | sum(1 << s for s in bits(self.frees[step]) if not self.needs[s] & ~done)

    def weight(self, mask: int) -> int:
        """Bytes of a set of blocks, each rounded up to the grain."""
        return sum(self.sizes[b] + self.slacks[b] for b in bits(mask))

    def floor(self, alive: int, shared: Iterable[Shared]) -> int:
        """A lower bound while `alive` coexist: only the top block may end off the grain.

        y at 0 and x at δ >= d share min(δ + x, y) - max(δ, 0) bytes, at best min(x, y, y - d); the same the other way
        round. Several x are disjoint: together they share no more than y.
        """
        saved: dict[int, int] = {}
        for x, y, distance, below in shared:
            size_x, size_y = self.weight(1 << x), self.weight(1 << y)
            best = min(size_x, size_y, max(size_y - distance, size_x - below))
            saved[y] = min(saved.get(y, 0) + best, size_y)
        return self.weight(alive) - sum(saved.values()) - max((self.slacks[b] for b in bits(alive)), default=0)


class State(NamedTuple):
    """What a search over orders goes on from: steps done, blocks alive after them, steps that may come next."""

    done: int
    live: int
    ready: int


def begin(model: Model) -> State:
    """Nothing is done, and the inputs are there."""
    return State(0, model.start, sum(1 << s for s, needs in enumerate(model.needs) if not needs))


def pairs(model: Model, alive: int, born: int, shared: Iterable[Shared]) -> frozenset[Edge]:
    """The edges of new blocks with those alive and with each other, the lower block first."""
    lent = {(x, y): (distance, below) for x, y, distance, below in shared}
    edges = []
    for y in bits(born):
        for x in bits(alive):
            up, down = lent.get((x, y), (model.sizes[y], model.sizes[x]))
            if up + down > 0:
                edges.append((y, x, up, down) if y < x else (x, y, down, up))
        alive |= 1 << y
    return frozenset(edges)


class Move(NamedTuple):
    """A step to take: bytes it needs at least, itself, what it may share, and the state after it."""

    floor: int
    step: int
    shared: list[Shared]
    state: State


def move(model: Model, state: State, s: int) -> Move:
    """To take a ready step. A block dies with its last reader; one that nobody reads, at once."""
    alive, done = state.live | model.writes[s], state.done | 1 << s
    touched = model.reads[s] | model.writes[s] | (0 if state.done else model.start)
    dying = sum(1 << b for b in bits(touched & ~model.keep) if not model.readers[b] & ~done)
    shared = [p for p in model.permits[s] if dying >> p[0] & 1]
    after = State(done, alive & ~dying, model.ready(state.ready, s, done))
    return Move(model.floor(alive, shared), s, shared, after)


def moves(model: Model, state: State) -> Iterator[Move]:
    """Every step that may come next, in their original order."""
    return (move(model, state, s) for s in bits(state.ready))


def original_order(model: Model) -> tuple[int, ...]:
    """Always the first ready step. ValueError if steps form a circle."""
    order: list[int] = []
    done, _, ready = begin(model)
    while ready:
        order.append(next(bits(ready)))
        done |= 1 << order[-1]
        ready = model.ready(ready, order[-1], done)
    if len(order) < len(model.needs):
        raise ValueError("malformed planning problem: steps wait for each other in a circle")
    return tuple(order)


def network(model: Model, order: Iterable[int]) -> Network:
    """The placement problem that an order leaves."""
    state = begin(model)
    met = set(pairs(model, 0, state.live, ()))
    for step in order:
        taken = move(model, state, step)
        met |= pairs(model, state.live, model.writes[step], taken.shared)
        state = taken.state
    return Network(model.sizes, model.aligns, sorted(met))


def least_peak(model: Model, budget: Budget) -> tuple[tuple[int, ...], int]:
    """An order whose worst step needs little, and a lower bound over all orders (placement left aside).

    * What is alive after a set of steps depends on the set alone, not on its order: search over such sets.
    * Best first, by the highest peak so far; among equals the deepest, then the one with least alive. The
      first full set is the answer, and its peak the bound.
    * A step that fits under the peak and leaves no more alive than before is taken at once: moving it forward
      in any order raises nothing.
    * If the budget ends first, the best open peak still is a bound: every order passes through an open set.
      The set in hand is then finished without looking back.
    """
    steps = zip(model.reads, model.writes, model.permits, strict=True)
    least = [model.floor(reads | writes, permits) for reads, writes, permits in steps]
    floor = max(model.floor(model.start, ()), model.floor(model.keep, ()), *least)
    slack = max(model.slacks, default=0)
    heap: list[tuple[int, int, int, State, tuple[int, ...]]] = [(floor, 0, 0, begin(model), ())]
    seen: set[int] = set()
    bound: int | None = None
    while True:
        peak, depth, _, state, order = heapq.heappop(heap)
        if -depth == len(model.needs):
            return order, peak if bound is None else bound
        if state.done in seen:
            continue
        seen.add(state.done)
        opened = [
            (max(peak, m.floor), depth - 1, model.weight(m.state.live), m.state, (*order, m.step))
            for m in moves(model, state)
        ]
        lasting = sum(1 << b for b in bits(state.live) if model.keep >> b & 1 or model.readers[b])  # the rest dies now
        harmless = model.weight(lasting) - slack
        opened = [e for e in opened if e[0] == peak and e[2] <= harmless][:1] or opened
        for entry in opened:
            heapq.heappush(heap, entry)
        try:
            budget.spend((1 + len(opened)) * (1 + state.live.bit_count() // 4))
        except OutOfEffort:
            bound = heap[0][0] if bound is None else bound
            seen.clear()
            heap = [min(opened, key=lambda entry: entry[1:])]


def decide(model: Model, height: int, budget: Budget) -> tuple[tuple[int, ...], list[int]] | None:
    """An order and offsets within `height` bytes, or None: proof that there are none. Raises OutOfEffort.

    * Depth first over orders; a step whose footprint exceeds the height closes its branch.
    * Two ways to one set of steps differ in who met whom: drop one whose pairs include the other's.
    * `pack` may spend a share of the budget; an order that stays open spoils the proof, not the search.
    """
    histories: dict[int, list[frozenset[Edge]]] = {}
    stack = [(begin(model), pairs(model, 0, model.start, ()), tuple[int, ...]())]
    unsettled = False
    while stack:
        state, met, order = stack.pop()
        known = histories.setdefault(state.done, [])
        budget.spend(1 + (len(known) + len(met)) // 32)
        if any(less <= met for less in known):
            continue
        known.append(met)
        if len(order) < len(model.needs):
            opened = [m for m in moves(model, state) if m.floor <= height]
            budget.spend(len(opened) * (1 + len(met) // 64))
            for m in sorted(opened, reverse=True):
                new = pairs(model, state.live, model.writes[m.step], m.shared)
                stack.append((m.state, met | new, (*order, m.step)))
            continue
        try:
            offsets = pack(Network(model.sizes, model.aligns, sorted(met)), height, budget.part(3))
        except OutOfEffort:
            unsettled, offsets = True, None
        if offsets is not None:
            return order, offsets
    if unsettled:
        raise OutOfEffort
    return None
