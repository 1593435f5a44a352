"""The planner's search room, part two: offsets for one order.

Who knocks: `planner_search`. What leaves: an offset per block, within a given height, or a proof that there
is none. A pair alive together is an `Edge` (a, b, up, down): offset(b) >= offset(a) + up, or offset(a) >=
offset(b) + down. An edge settled one way has NEVER for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Edge = tuple[int, int, int, int]
NEVER = 1 << 62  # farther apart than any height allows


class OutOfEffort(Exception):
    """The budget is spent: neither an answer nor a proof."""


@dataclass(slots=True)
class Budget:
    """A number of search states still allowed, perhaps as part of a larger budget."""

    left: int
    whole: Budget | None = None

    def spend(self, count: int) -> None:
        """Pay for `count` states, or raise OutOfEffort."""
        self.left -= count
        if self.whole:
            self.whole.spend(count)
        if self.left < 0:
            raise OutOfEffort

    def part(self, share: int) -> Budget:
        """One `share`-th of what is left; what is spent there is spent here too."""
        return Budget(max(self.left, 0) // share, self)


@dataclass(frozen=True, slots=True)
class Network:
    """The placement problem that an order leaves: blocks (bytes, alignments) and pairs alive together."""

    sizes: Sequence[int]
    aligns: Sequence[int]
    edges: Sequence[Edge]


def height_of(sizes: Sequence[int], offsets: Sequence[int]) -> int:
    """The bytes that a placement needs."""
    return max((o + n for o, n in zip(offsets, sizes, strict=True) if n), default=0)


def first_fit(net: Network, sequence: Iterable[int]) -> list[int]:
    """Give each block in turn the lowest offset that is free among the neighbours placed before it."""
    around: list[list[tuple[int, int, int]]] = [[] for _ in net.sizes]
    for a, b, up, down in net.edges:
        around[b].append((a, up, down))
        around[a].append((b, down, up))
    offsets: dict[int, int] = {}
    for b in sequence:
        taken = [(offsets[a] - down, offsets[a] + up) for a, up, down in around[b] if a in offsets]
        offset = 0
        for low, high in sorted(taken):
            if low < offset < high:
                offset = -(-high // net.aligns[b]) * net.aligns[b]
        offsets[b] = offset
    return [offsets[b] for b in range(len(net.sizes))]


def pack(net: Network, height: int, budget: Budget) -> list[int] | None:
    """Offsets for all blocks within `height` bytes, or None: there are none. Raises OutOfEffort.

    * Each block has a window [low, high] of offsets, which the edges narrow.
    * If no edge is violated with every block at its low, the lows are the answer: they are the least offsets
      that satisfy all settled edges, whatever the signs of the distances.
    * Otherwise the violated edge with least room is settled one way, then the other, the roomier way first.
    """
    high = [(height - n) // a * a for n, a in zip(net.sizes, net.aligns, strict=True)]
    if min(high, default=0) < 0:
        return None
    stack = [([0] * len(high), high, list(net.edges))]
    while stack:
        low, high, edges = stack.pop()
        if not narrow(net.aligns, low, high, edges, budget):
            continue
        rooms = [
            (high[b] - low[a] - up, high[a] - low[b] - down, i)
            for i, (a, b, up, down) in enumerate(edges)
            if low[b] < low[a] + up and low[a] < low[b] + down
        ]
        if not rooms:
            return low
        above, below, worst = min(rooms, key=lambda room: room[0] + room[1])
        a, b, up, down = edges[worst]
        for _, edge in sorted(((above, (a, b, up, NEVER)), (below, (a, b, NEVER, down)))):
            stack.append((list(low), list(high), [*edges[:worst], edge, *edges[worst + 1 :]]))
    return None


def narrow(aligns: Sequence[int], low: list[int], high: list[int], edges: list[Edge], budget: Budget) -> bool:
    """Narrow windows by edges with one way left until nothing changes; False if some edge has none."""
    changed = True
    while changed:
        changed = False
        budget.spend(1 + len(edges) // 64)
        for a, b, up, down in edges:
            can_up, can_down = low[a] + up <= high[b], low[b] + down <= high[a]
            if can_up and can_down:
                continue
            if not can_up and not can_down:
                return False
            under, over, apart = (a, b, up) if can_up else (b, a, down)
            least = -(-(low[under] + apart) // aligns[over]) * aligns[over]
            most = (high[over] - apart) // aligns[under] * aligns[under]
            if least > low[over] or most < high[under]:
                low[over], high[under] = max(least, low[over]), min(most, high[under])
                changed = True
    return True
