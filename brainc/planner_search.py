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
      and of steps that must come before; `permits` per step: the overlaps its kernel allows.
    * `readers` per block: the mask of steps that read it. `start`, `keep`: masks of inputs and of outputs.
    """

    sizes: tuple[int, ...]
    aligns: tuple[int, ...]
    slacks: tuple[int, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    needs: tuple[int, ...]
    permits: tuple[tuple[Shared, ...], ...]
    readers: tuple[int, ...]
    start: int
    keep: int

    def ready(self, done: int) -> Iterator[int]:
        """The steps that may come next, in their original order."""
        return (s for s, needs in enumerate(self.needs) if not (done >> s & 1 or needs & ~done))

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


class Place(NamedTuple):
    """A node of a search over orders: steps done, blocks alive after them, pairs that met, the order."""

    done: int
    live: int
    met: frozenset[Edge]
    order: tuple[int, ...]


def begin(model: Model) -> Place:
    """Nothing is done, and the inputs are there."""
    return Place(0, model.start, pairs(model, 0, model.start, ()), ())


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
    """A step to take: bytes it needs at least, itself, what it may share; what is done and alive then."""

    floor: int
    step: int
    shared: list[Shared]
    done: int
    live: int


def moves(model: Model, done: int, live: int) -> Iterator[Move]:
    """Every ready step. A block dies with its last reader; one that nobody reads, at once."""
    for s in model.ready(done):
        alive, after = live | model.writes[s], done | 1 << s
        touched = model.reads[s] | model.writes[s] | (0 if done else model.start)
        dying = sum(1 << b for b in bits(touched & ~model.keep) if not model.readers[b] & ~after)
        shared = [p for p in model.permits[s] if dying >> p[0] & 1]
        yield Move(model.floor(alive, shared), s, shared, after, alive & ~dying)


def take(model: Model, place: Place, move: Move) -> Place:
    """The place after a step."""
    met = place.met | pairs(model, place.live, model.writes[move.step], move.shared)
    return Place(move.done, move.live, met, (*place.order, move.step))


def original_order(model: Model) -> tuple[int, ...]:
    """Always the first ready step. ValueError if steps form a circle."""
    order: list[int] = []
    for _ in model.needs:
        step = next(model.ready(sum(1 << s for s in order)), None)
        if step is None:
            raise ValueError("malformed planning problem: steps wait for each other in a circle")
        order.append(step)
    return tuple(order)


def network(model: Model, order: Iterable[int]) -> Network:
    """The placement problem that an order leaves."""
    place = begin(model)
    for step in order:
        place = take(model, place, next(m for m in moves(model, place.done, place.live) if m.step == step))
    return Network(model.sizes, model.aligns, sorted(place.met))


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
    heap: list[tuple[int, int, int, int, int, tuple[int, ...]]] = [(floor, 0, 0, 0, model.start, ())]
    seen: set[int] = set()
    bound: int | None = None
    while True:
        peak, depth, _, done, live, order = heapq.heappop(heap)
        if -depth == len(model.needs):
            return order, peak if bound is None else bound
        if done in seen:
            continue
        seen.add(done)
        opened = [
            (max(peak, m.floor), depth - 1, model.weight(m.live), m.done, m.live, (*order, m.step))
            for m in moves(model, done, live)
        ]
        lasting = sum(1 << b for b in bits(live) if model.keep >> b & 1 or model.readers[b])  # the rest dies at once
        harmless = model.weight(lasting) - max(model.slacks, default=0)
        opened = [e for e in opened if e[0] == peak and e[2] <= harmless][:1] or opened
        for entry in opened:
            heapq.heappush(heap, entry)
        try:
            budget.spend((1 + len(opened)) * (1 + live.bit_count() // 4))
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
    stack = [begin(model)]
    unsettled = False
    while stack:
        place = stack.pop()
        known = histories.setdefault(place.done, [])
        budget.spend(1 + (len(known) + len(place.met)) // 32)
        if any(less <= place.met for less in known):
            continue
        known.append(place.met)
        if len(place.order) < len(model.needs):
            opened = [m for m in moves(model, place.done, place.live) if m.floor <= height]
            budget.spend(len(opened) * (1 + len(place.met) // 64))
            stack.extend(take(model, place, m) for m in sorted(opened, reverse=True))
            continue
        try:
            offsets = pack(Network(model.sizes, model.aligns, sorted(place.met)), height, budget.part(3))
        except OutOfEffort:
            unsettled, offsets = True, None
        if offsets is not None:
            return place.order, offsets
    if unsettled:
        raise OutOfEffort
    return None
