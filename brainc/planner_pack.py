"""The planner's search room, part two: offsets for one order.

Who knocks: `planner_search.decide`. What leaves: an offset per block, within a given height, or a proof that
there is none. A pair alive together is an `Edge` (a, b, up, down): offset(b) >= offset(a) + up, or offset(a)
>= offset(b) + down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Edge = tuple[int, int, int, int]
Group = tuple[
    tuple[int, ...], int
]  # blocks alive at one step, and the most bytes that overlaps and rounding save there

UP, DOWN = 1, 2  # how an edge was settled: b above a, a above b


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
    """Blocks (sizes, alignments, sizes rounded to the grain), pairs and groups alive together."""

    sizes: tuple[int, ...]
    aligns: tuple[int, ...]
    grains: tuple[int, ...]
    edges: tuple[Edge, ...]
    groups: tuple[Group, ...]

    def neighbours(self) -> list[list[tuple[int, int, int]]]:
        """Per block b, for each pair, (a, up, down): b goes at a + up or higher, or at a - down or lower."""
        around: list[list[tuple[int, int, int]]] = [[] for _ in self.sizes]
        for a, b, up, down in self.edges:
            around[b].append((a, up, down))
            around[a].append((b, down, up))
        return around


def lowest_gap(taken: Iterable[tuple[int, int]], align: int) -> int:
    """The lowest aligned offset that is strictly inside none of the intervals `taken`."""
    offset = 0
    for low, high in sorted(taken):
        if low < offset < high:
            offset = -(-high // align) * align
        elif low >= offset:
            break
    return offset


def first_fit(net: Network, order: Iterable[int], placed: dict[int, int] | None = None) -> list[int]:
    """Give each block of `order` its lowest offset free among neighbours placed before; all must be named."""
    around = net.neighbours()
    offsets = {} if placed is None else dict(placed)
    for b in order:
        taken = [(offsets[a] - down, offsets[a] + up) for a, up, down in around[b] if a in offsets]
        offsets[b] = lowest_gap(taken, net.aligns[b])
    return [offsets[b] for b in range(len(net.sizes))]


def height_of(sizes: Sequence[int], offsets: Sequence[int]) -> int:
    """The bytes that a placement needs."""
    return max((o + n for o, n in zip(offsets, sizes, strict=True) if n), default=0)


class Packer:
    """Exact search for offsets within a height.

    * Each block has a window [low, high] of offsets. A pair with only one way left to stand (b above a, or a
      above b) narrows both windows; that is repeated until nothing changes. A pair with no way left closes
      the branch.
    * So does a group alive at one step that no longer fits between the lowest window and the height.
    * If no pair collides with every block at its low, the lows are the answer: they are the least offsets
      that satisfy all settled pairs, whatever the signs of the distances.
    * Otherwise a colliding pair is settled one way, then the other. Pairs with little room that closed
      branches before bear a grudge and come first; the dive is cut at a growing limit and started again, so
      grudges reach the top of the tree.
    """

    def __init__(
        self, net: Network, height: int, budget: Budget, grudges: dict[tuple[int, int], int]
    ) -> None:
        self.net, self.height, self.budget, self.grudges = net, height, budget, grudges
        self.high = [(height - n) // a * a for n, a in zip(net.sizes, net.aligns, strict=True)]
        self.stripped = self.strip()
        gone = set(self.stripped)
        self.edges = [e for e in net.edges if e[0] not in gone and e[1] not in gone]
        self.touching: list[list[int]] = [[] for _ in net.sizes]
        for i, (a, b, _, _) in enumerate(self.edges):
            self.touching[a].append(i)
            self.touching[b].append(i)
        kept = (([b for b in members if b not in gone], saved) for members, saved in net.groups)
        self.groups = [(members, saved) for members, saved in kept if len(members) > 1]
        self.blamed: set[int] = set()
        self.load = len(self.edges) + sum(len(members) for members, _ in self.groups)

    def strip(self) -> list[int]:
        """Set aside, one by one, blocks that will find room wherever their neighbours go."""
        around = self.net.neighbours()
        gone: dict[int, None] = {}
        todo = sorted(range(len(around)), reverse=True)
        while todo:
            b = todo.pop()
            align = self.net.aligns[b]
            # a neighbour forbids up + down - 1 offsets in a row
            taken = sum((up + down + align - 2) // align for a, up, down in around[b] if a not in gone)
            if b not in gone and self.high[b] >= 0 and taken <= self.high[b] // align:
                gone[b] = None
                todo.extend(a for a, _, _ in around[b] if a not in gone)
        return list(gone)

    def solve(self) -> list[int] | frozenset[Edge]:
        """The offsets, or the core: pairs that cannot all be placed. Raises OutOfEffort."""
        if any(high < 0 for high, n in zip(self.high, self.net.sizes, strict=True) if n):
            return frozenset()
        limit = 32
        while True:
            settled, lows = self.dive(limit)
            if settled:
                break
            limit += limit // 2
        if lows is None:
            return frozenset(self.edges[i] for i in self.blamed)
        gone = set(self.stripped)
        placed = {b: low for b, low in enumerate(lows) if b not in gone}
        return first_fit(self.net, reversed(self.stripped), placed)

    def dive(self, limit: int) -> tuple[bool, list[int] | None]:
        """Search at most `limit` nodes: (False, None) if cut, else (True, lows or None)."""
        root = (
            [0] * len(self.high),
            list(self.high),
            bytearray(len(self.edges)),
            list(range(len(self.edges))),
        )
        stack = [root]
        self.blamed.clear()
        while stack:
            if not limit:
                return False, None
            limit -= 1
            low, high, ways, queue = stack.pop()
            if not self.narrow(low, high, ways, queue) or self.crowded(low, high):
                continue
            worst = self.collision(low, high, ways)
            if worst is None:
                return True, low
            self.blamed.add(worst)
            for way in self.ways_by_room(worst, low, high):
                settled = bytearray(ways)
                settled[worst] = way
                stack.append((list(low), list(high), settled, [worst]))
        return True, None

    def narrow(self, low: list[int], high: list[int], ways: bytearray, queue: list[int]) -> bool:
        """Propagate until nothing changes; False if some pair has no way left."""
        work = 0
        waiting = set(queue)
        while queue:
            i = queue.pop()
            waiting.discard(i)
            work += 1
            a, b, up, down = self.edges[i]
            can_up = ways[i] != DOWN and low[a] + up <= high[b]
            can_down = ways[i] != UP and low[b] + down <= high[a]
            if can_up and can_down:
                continue
            self.blamed.add(i)
            if not can_up and not can_down:
                self.grudges[a, b] = self.grudges.get((a, b), 0) + 1
                self.budget.spend(1 + (work + self.load) // 64)
                return False
            ways[i] = UP if can_up else DOWN
            lower, upper, apart = (a, b, up) if can_up else (b, a, down)
            for moved in self.shift(low, high, lower, upper, apart):
                for j in self.touching[moved]:
                    if j not in waiting:
                        waiting.add(j)
                        queue.append(j)
        self.budget.spend(1 + (work + self.load) // 64)
        return True

    def shift(self, low: list[int], high: list[int], lower: int, upper: int, apart: int) -> list[int]:
        """Narrow both windows to offset(upper) >= offset(lower) + apart; returns the blocks that felt it."""
        moved = []
        align = self.net.aligns[upper]
        least = -(-(low[lower] + apart) // align) * align
        if least > low[upper]:
            low[upper] = least
            moved.append(upper)
        align = self.net.aligns[lower]
        most = (high[upper] - apart) // align * align
        if most < high[lower]:
            high[lower] = most
            moved.append(lower)
        return moved

    def crowded(self, low: list[int], high: list[int]) -> bool:
        """Whether some group no longer fits above its lowest, or below its highest, window."""
        grains, sizes, height = self.net.grains, self.net.sizes, self.height
        for members, saved in self.groups:
            upward = sorted((height - low[b], grains[b], b) for b in members)
            downward = sorted((high[b] + sizes[b], grains[b], b) for b in members)
            for ranked in (upward, downward):
                total = -saved
                for count, (room, n, _) in enumerate(ranked):
                    total += n
                    if total > room:
                        self.blame({b for _, _, b in ranked[: count + 1]})
                        return True
        return False

    def blame(self, members: set[int]) -> None:
        """Name every pair among some blocks as part of the core."""
        self.blamed.update(i for i, (a, b, _, _) in enumerate(self.edges) if a in members and b in members)

    def collision(self, low: list[int], high: list[int], ways: bytearray) -> int | None:
        """The pair to settle next: it collides at the lows, bears many grudges and has little room."""
        best, best_score = None, 0.0
        for i, (a, b, up, down) in enumerate(self.edges):
            if not ways[i] and low[b] < low[a] + up and low[a] < low[b] + down:
                room = high[b] - low[a] - up + high[a] - low[b] - down
                score = (1 + self.grudges.get((a, b), 0)) / (1 + room)
                if score > best_score:
                    best, best_score = i, score
        return best

    def ways_by_room(self, i: int, low: list[int], high: list[int]) -> tuple[int, int]:
        """Both ways for a pair, the roomier one last (the stack takes it first)."""
        a, b, up, down = self.edges[i]
        return (DOWN, UP) if high[b] - low[a] - up >= high[a] - low[b] - down else (UP, DOWN)


def pack(
    net: Network, height: int, budget: Budget, grudges: dict[tuple[int, int], int]
) -> list[int] | frozenset[Edge]:
    """Offsets for all blocks within `height` bytes, or pairs that cannot all be placed. Raises OutOfEffort.

    `grudges` counts, per pair of blocks, the branches it closed; passed on from call to call, it only sets
    the order in which pairs are tried.
    """
    return Packer(net, height, budget, grudges).solve()
