"""The planner's search room, part one: the order of the steps.

Who knocks: `planner.plan`, with names already turned into small integers. What leaves: an order, offsets, or
a proof that none exist. Blocks and steps are bit positions, so a set is one `int`; nothing here knows a name.
Every loop is paid for from a `Budget` of counted states: the clock is never asked.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import NamedTuple

from brainc.planner_pack import Budget, Edge, Network, OutOfEffort, pack

Shared = tuple[
    int, int, int
]  # (x, y, distance): y may share bytes with x when offset(x) - offset(y) >= distance
Trail = tuple["Trail", int] | None  # steps taken so far, newest first


def bits(mask: int) -> Iterator[int]:
    """The set positions of `mask`, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def align_up(value: int, align: int) -> int:
    """The lowest multiple of `align` that is at least `value`."""
    return -(-value // align) * align


@dataclass(frozen=True)
class Model:
    """A problem in integers. Blocks without bytes are in no mask: they can collide with nothing.

    * `reads`, `writes`, `needs` per step: masks of blocks read, of blocks written (scratch is one of them),
      and of steps that must come before; `permits` per step: the overlaps its kernel allows.
    * `readers` per block: the mask of steps that read it. `start`, `keep`: masks of inputs and of outputs.
    """

    sizes: tuple[int, ...]
    aligns: tuple[int, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    needs: tuple[int, ...]
    permits: tuple[tuple[Shared, ...], ...]
    readers: tuple[int, ...]
    start: int
    keep: int

    @cached_property
    def full(self) -> int:
        """The mask of all steps."""
        return (1 << len(self.reads)) - 1

    @cached_property
    def grain(self) -> int:
        """The largest number that divides every alignment: no offset falls between its multiples."""
        return gcd(*(a for a, n in zip(self.aligns, self.sizes, strict=True) if n)) or 1

    @cached_property
    def grains(self) -> tuple[int, ...]:
        """Sizes in bytes, rounded up to the grain."""
        return tuple(align_up(n, self.grain) for n in self.sizes)

    @cached_property
    def ragged(self) -> int:
        """The mask of blocks whose size is not a multiple of the grain."""
        return sum(1 << b for b, n in enumerate(self.sizes) if n % self.grain)

    def ready(self, done: int) -> Iterator[int]:
        """The steps that may come next, in their original order."""
        return (s for s in bits(self.full & ~done) if not self.needs[s] & ~done)

    def plain_order(self) -> tuple[int, ...]:
        """Always the first ready step: the original order if lawful. ValueError if steps form a circle."""
        done, order = 0, []
        while done != self.full:
            step = next(self.ready(done), None)
            if step is None:
                raise ValueError("malformed planning problem: steps wait for each other in a circle")
            done |= 1 << step
            order.append(step)
        return tuple(order)

    def shared(self, done: int, step: int) -> list[Shared]:
        """The overlaps of `step` that hold after the steps `done`: those whose x has no reader left."""
        left = ~(done | 1 << step)
        return [p for p in self.permits[step] if not self.readers[p[0]] & left and not self.keep >> p[0] & 1]

    def after(self, done: int, alive: int, step: int) -> int:
        """Of the blocks alive during `step`, those still alive after it (`done` does not hold `step` yet)."""
        touched = self.reads[step] | self.writes[step] | (0 if done else self.start)
        left = ~(done | 1 << step)
        dead = sum(1 << b for b in bits(touched & ~self.keep) if not self.readers[b] & left)
        return alive & ~dead

    def weight(self, mask: int) -> int:
        """Bytes of a set of blocks, each rounded up to the grain."""
        return sum(self.grains[b] for b in bits(mask))

    def slack(self, mask: int) -> int:
        """The most bytes that rounding added to any block of the set."""
        return max((self.grains[b] - self.sizes[b] for b in bits(mask & self.ragged)), default=0)

    def saved(self, pairs: Iterable[Shared]) -> int:
        """The most bytes that a step's overlaps can save.

        * One pair: y at 0 and x at δ >= d share min(δ + x, y) - max(δ, 0) bytes, at best min(x, y, y - d).
          The pair's footprint is so max(x, y, d + x).
        * Several: the x are disjoint, and so are the y. No block can then share more than its own size, and
          the sum over either side is a bound; the smaller one is taken.
        """
        by_x: dict[int, int] = {}
        by_y: dict[int, int] = {}
        for x, y, distance in pairs:
            size_x, size_y = self.grains[x], self.grains[y]
            common = min(size_x, size_y, size_y - align_up(distance, self.grain))
            by_x[x] = min(by_x.get(x, 0) + common, size_x)
            by_y[y] = min(by_y.get(y, 0) + common, size_y)
        return min(sum(by_x.values()), sum(by_y.values()))

    def floor(self, alive: int, weight: int, pairs: Iterable[Shared]) -> int:
        """A lower bound while `alive` (weighing `weight`) coexist: only the top block may end ragged."""
        return weight - self.saved(pairs) - self.slack(alive)


def floor_of_any_order(model: Model) -> int:
    """A cheap lower bound over all orders: what no order can keep from being alive during each step.

    * A step's own reads and writes are alive during it.
    * So is a block born before it in every order (an input, or written by an ancestor) and needed after it in
      every order (an output, or read by a descendant).
    * All inputs are alive together at the start, all outputs at the end.
    """
    count = len(model.reads)
    below = list(model.needs)
    above = [0] * count
    for s in model.plain_order():
        for p in bits(model.needs[s]):
            below[s] |= below[p]
        for p in bits(below[s]):
            above[p] |= 1 << s
    best = max(model.floor(m, model.weight(m), ()) for m in (model.start, model.keep))
    for s in range(count):
        born = model.start | model.writes[s]
        for p in bits(below[s]):
            born |= model.writes[p]
        needed = above[s] | 1 << s
        alive = model.writes[s] | sum(
            1 << b for b in bits(born) if model.readers[b] & needed or model.keep >> b & 1
        )
        pairs = [
            p for p in model.permits[s] if not model.readers[p[0]] & above[s] and not model.keep >> p[0] & 1
        ]
        best = max(best, model.floor(alive, model.weight(alive), pairs))
    return best


def unwind(trail: Trail) -> tuple[int, ...]:
    """A trail as an order."""
    order: list[int] = []
    while trail:
        trail, step = trail
        order.append(step)
    return tuple(reversed(order))


def modest_order(model: Model) -> tuple[int, ...]:
    """An order found without looking back: always the step that leaves least alive, then peaks least."""
    done, live, order = 0, model.start, []
    while done != model.full:
        choices = []
        for s in model.ready(done):
            alive = live | model.writes[s]
            left = model.after(done, alive, s)
            peak = model.floor(alive, model.weight(alive), model.shared(done, s))
            choices.append((model.weight(left) - model.weight(live), peak, s, left))
        _, _, step, live = min(choices)
        done |= 1 << step
        order.append(step)
    return tuple(order)


def least_peak(model: Model, floor: int, budget: Budget) -> tuple[tuple[int, ...] | None, int]:
    """The order whose worst step needs least, and a lower bound over all orders (placement left aside).

    * What is alive after a set of steps depends on the set alone, not on its order: search over such sets.
    * Best first, by the highest peak so far; among equals the deepest, then the one with least alive.
    * A step that fits under the peak and leaves no more alive than before is taken at once: moving it forward
      in any order raises nothing.
    * The first full set is the answer. If the budget ends first, no order is returned (None), and the best
      open peak still is a bound, since every order passes through an open set.
    """
    heap: list[tuple[int, int, int, int, int, int, Trail]] = [(floor, 0, 0, 0, 0, model.start, None)]
    seen: set[int] = set()
    count = 0
    while True:
        peak, _, weight, _, done, live, trail = heapq.heappop(heap)
        if done == model.full:
            return unwind(trail), peak
        if done in seen:
            continue
        seen.add(done)
        weight = model.weight(live)
        opened = []
        for s in model.ready(done):
            count += 1
            alive = live | model.writes[s]
            during = weight + model.weight(model.writes[s])
            top = max(peak, model.floor(alive, during, model.shared(done, s)))
            left = model.after(done, alive, s)
            after = model.weight(left)
            entry = (top, -(done.bit_count() + 1), after, count, done | 1 << s, left, (trail, s))
            if top == peak and after <= weight and model.slack(live & ~left) <= model.slack(left & ~live):
                opened = [entry]
                break
            opened.append(entry)
        for entry in opened:
            heapq.heappush(heap, entry)
        try:
            budget.spend((1 + len(opened)) * (1 + live.bit_count() // 4))
        except OutOfEffort:
            return None, heap[0][0]


def network(model: Model, order: Iterable[int], *, overlaps: bool = True) -> Network:
    """The placement problem that an order leaves: for each pair alive together, how far apart it must be."""
    edges: list[Edge] = []
    groups: dict[int, int] = {}
    done, alive = 0, 0
    for step, born in [(-1, model.start), *((s, model.writes[s]) for s in order)]:
        shared = model.shared(done, step) if overlaps and step >= 0 else []
        apart = {(y, x): distance for x, y, distance in shared}
        for y in bits(born):
            for x in bits(alive):
                up = apart.get((y, x), model.sizes[y])
                if up + model.sizes[x] > 0:
                    edges.append((y, x, up, model.sizes[x]))
            alive |= 1 << y
        groups[alive] = model.saved(shared) + model.slack(alive)
        if step >= 0:
            alive = model.after(done, alive, step)
            done |= 1 << step
    return Network(
        model.sizes,
        model.aligns,
        model.grains,
        tuple(edges),
        tuple((tuple(bits(g)), s) for g, s in groups.items()),
    )


class Place(NamedTuple):
    """A node of the joint search: steps done, blocks alive after them, who met whom, and the trail."""

    done: int
    live: int
    met: int
    trail: Trail


def encounter(width: int, a: int, b: int, strict: bool) -> int:
    """The bits of `Place.met` for a pair of `width` blocks: that they met, and whether they may not share."""
    bit = 2 * (max(a, b) * width + min(a, b))
    return (3 if strict else 1) << bit


def meet(model: Model, place: Place, step: int) -> Place:
    """Take one step and note who met whom. Fewer bits never make placing harder: histories compare."""
    width = len(model.sizes)
    lent = {(x, y) for x, y, _ in model.shared(place.done, step)}
    alive, met = place.live, place.met
    for y in bits(model.writes[step]):
        row = 0  # the pairs of most y lie in one row: collect it first, for `met` can be long
        for x in bits(alive & (1 << y) - 1):
            row |= (1 if (x, y) in lent else 3) << 2 * x
        met |= row << 2 * y * width
        for x in bits(alive >> y << y):
            met |= encounter(width, x, y, (x, y) not in lent)
        alive |= 1 << y
    left = model.after(place.done, alive, step)
    return Place(place.done | 1 << step, left, met, (place.trail, step))


Answer = tuple[tuple[int, ...], list[int]]  # an order, and an offset for every block


def decide(model: Model, height: int, budget: Budget, grudges: dict[tuple[int, int], int]) -> Answer | None:
    """An order and offsets within `height` bytes, or None: proof that there are none. Raises OutOfEffort.

    * Depth first over orders; a step whose footprint exceeds the height closes its branch.
    * Two ways to one set of steps differ in who met whom: drop a history that holds another's.
    * At the end of an order, `pack` finds offsets, or names a core of pairs that cannot be placed: a history
      that holds such a core is dropped too, however few steps it has taken.
    * `pack` may spend a share of the budget; an order that stays open spoils the proof, not the search.
    """
    width = len(model.sizes)
    start = sum(encounter(width, a, b, True) for b in bits(model.start) for a in bits(model.start) if a < b)
    histories: dict[int, list[int]] = {}
    cores: list[int] = []
    stack = [Place(0, model.start, start, None)]
    cost = 1 + width**2 // 1_000
    unsettled = False
    while stack:
        place = stack.pop()
        known = histories.setdefault(place.done, [])
        budget.spend(cost + (len(known) + len(cores)) // 32)
        if any(not less & ~place.met for less in (*known, *cores)):
            continue
        known.append(place.met)
        if place.done != model.full:
            opened = openings(model, place, height)
            budget.spend(cost * len(opened))
            stack.extend(meet(model, place, step) for step in reversed(opened))
            continue
        order = unwind(place.trail)
        try:
            found = pack(network(model, order), height, budget.part(3), grudges)
        except OutOfEffort:
            unsettled = True
            continue
        if isinstance(found, list):
            return order, found
        cores.append(sum(encounter(width, y, x, up == model.sizes[y]) for y, x, up, _ in found))
    if unsettled:
        raise OutOfEffort
    return None


def openings(model: Model, place: Place, height: int) -> list[int]:
    """The ready steps whose footprint stays within the height, the smallest first."""
    weight = model.weight(place.live)
    opened = []
    for s in model.ready(place.done):
        during = weight + model.weight(model.writes[s])
        floor = model.floor(place.live | model.writes[s], during, model.shared(place.done, s))
        if floor <= height:
            opened.append((floor, s))
    return [s for _, s in sorted(opened)]
