"""The arena planner: exact on small graphs (against exhaustive search), right on all, the same on every run.

The exhaustive search knows bytes and nothing else: it tries every step order and every aligned offset, for
growing arenas, until one fits. It shares no idea with the planner (no bound, no normal form, no propagation).
"""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from brainc.planner import Block, Overlap, Placement, Problem, Step, lifetimes, plan, verify

Alive = tuple[tuple[str, int], ...]  # blocks alive and their offsets
Lent = dict[tuple[str, str], list[tuple[int, int | None]]]  # (x, y) to the permissions (distance, below) for y on x


class Exhaustive:
    """Whether a problem fits in a given number of bytes, by trying everything."""

    def __init__(self, problem: Problem, height: int) -> None:
        self.problem, self.height = problem, height
        self.room = {b.name: (b.nbytes, b.align) for b in problem.blocks.values()}
        self.room |= {f"{s.name}#scratch": (s.scratch, s.scratch_align) for s in problem.steps}
        writer = {name: s.name for s in problem.steps for name in s.writes}
        self.before = {s.name: {writer[r] for r in s.reads if r in writer} for s in problem.steps}
        for a, b in problem.after:
            self.before[b].add(a)
        self.seen: set[tuple[frozenset[str], Alive]] = set()

    def fits(self) -> bool:
        return any(self.completes(frozenset(), alive) for alive in self.placings((), self.problem.inputs, {}))

    def placings(self, alive: Alive, new: tuple[str, ...], lent: Lent) -> Iterator[Alive]:
        """Every way to add the blocks `new`. `lent`: who may lie on whom, see `Lent`."""
        if not new:
            yield alive
            return
        y, rest = new[0], new[1:]
        size, align = self.room[y]
        taken = 0  # one bit per byte that y may not touch, whatever its offset
        for x, spot in alive:
            if (x, y) not in lent:
                taken |= (1 << self.room[x][0]) - 1 << spot
        shared = [(spot, self.room[x][0], lent[x, y]) for x, spot in alive if (x, y) in lent]
        for at in range(0, self.height - size + 1 if size else 1, align):
            mine = (1 << size) - 1 << at
            if mine & taken:
                continue
            if all(not mine & ((1 << n) - 1 << spot) or _apart(spot - at, least) for spot, n, least in shared):
                yield from self.placings((*alive, (y, at)), rest, lent)

    def completes(self, done: frozenset[str], alive: Alive) -> bool:
        if len(done) == len(self.problem.steps):
            return True
        if (done, alive) in self.seen:
            return False
        self.seen.add((done, alive))
        for step in self.problem.steps:
            if step.name in done or not self.before[step.name] <= done:
                continue
            now = done | {step.name}
            wanted = {r for s in self.problem.steps if s.name not in now for r in s.reads} | {*self.problem.outputs}
            lent: Lent = {}
            for o in step.overlaps:
                if o.x not in wanted:
                    lent.setdefault((o.x, o.y), []).append((o.distance, o.below))
            scratch = (f"{step.name}#scratch",) if step.scratch else ()
            for placed in self.placings(alive, step.writes + scratch, lent):
                if self.completes(now, tuple(sorted(p for p in placed if p[0] in wanted))):
                    return True
        return False


def _apart(gap: int, permissions: list[tuple[int, int | None]]) -> bool:
    """Whether x may lie `gap` bytes above y."""
    return any(gap >= distance or (below is not None and -gap >= below) for distance, below in permissions)


def smallest_arena(problem: Problem) -> int:
    """The least number of bytes in which the problem fits."""
    height = 0
    while not Exhaustive(problem, height).fits():
        height += 1
    return height


def crowd(problem: Problem) -> int:
    """Most bytes alive at once, nothing shared: what decides how long trying everything takes."""
    spans = lifetimes(problem, [s.name for s in problem.steps])
    room = {b.name: b.nbytes for b in problem.blocks.values()}
    room |= {f"{s.name}#scratch": s.scratch for s in problem.steps}
    return max(sum(room[n] for n, (a, b) in spans.items() if a <= t <= b) for t in range(len(problem.steps)))


def random_problem(seed: int) -> Problem:
    """The first of the problems drawn from `seed` that can be searched exhaustively in reasonable time."""
    rng = random.Random(seed)
    while crowd(problem := draw(rng)) > 12:
        pass
    return problem


def draw(rng: random.Random) -> Problem:
    """Up to 9 steps on up to 3 inputs: random sizes, alignments, overlaps, scratch, outputs, dead values."""
    big = rng.choice((2, 3, 4))
    aligned = rng.random() < 0.4
    inputs = tuple(f"i{k}" for k in range(rng.choice((1, 1, 2, 3))))
    blocks: dict[str, Block] = {}

    def block(name: str) -> str:
        size = 0 if rng.random() < 0.03 else rng.randint(1, big)
        blocks[name] = Block(name, size, rng.choice((1, 2, 4)) if aligned else 1)
        return name

    for name in inputs:
        block(name)

    def near() -> int:
        return rng.choice((0, 0, 1, 2, 9, -1, -2, -3, rng.randint(-7, 7)))

    steps: list[Step] = []
    for k in range(rng.randint(2, 9)):
        known = list(blocks)
        reads = tuple({rng.choice(known[-rng.randint(1, 4) :]): None for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))})
        writes = tuple(block(f"b{k}{c}") for c in "xy"[: rng.choice((1, 1, 1, 1, 2))])
        overlaps = tuple(
            Overlap(x, y, near(), near() if rng.random() < 0.4 else None)
            for x in reads
            for y in writes
            if rng.random() < 0.6
        )
        scratch = rng.choice((0, 0, 0, 1, 2))
        steps.append(Step(f"s{k}", reads, writes, scratch, rng.choice((1, 4)) if aligned else 1, overlaps))
    read = {name for s in steps for name in s.reads}
    ends = [name for name in blocks if name not in read]
    outputs = tuple(name for name in blocks if rng.random() < (0.8 if name in ends else 0.05))
    after = tuple(
        (a.name, b.name) for i, b in enumerate(steps) for a in steps[:i] if rng.random() < rng.choice((0, 0, 0.1))
    )
    return Problem(blocks, tuple(steps), inputs, outputs, after)


def check_exact(seeds: range, effort: int = 20_000) -> None:
    for seed in seeds:
        problem = random_problem(seed)
        found = plan(problem, effort=effort)
        assert verify(problem, found) == (), seed
        assert (found.nbytes, found.lower_bound, found.optimal) == (smallest_arena(problem),) * 2 + (True,), seed


def test_equals_exhaustive_search() -> None:
    check_exact(range(40))


@pytest.mark.slow
def test_equals_exhaustive_search_on_many() -> None:
    check_exact(range(40, 400), effort=400_000)


def chain(*sizes: int, distance: Callable[[int, int], int] | None = None) -> Problem:
    """Blocks of the given sizes, each made from the one before; `distance(x, y)` lets steps overlap."""
    names = [f"v{i}" for i in range(len(sizes))]
    blocks = {name: Block(name, size) for name, size in zip(names, sizes, strict=True)}
    steps = []
    for i, (x, y) in enumerate(pairwise(names)):
        overlaps = (Overlap(x, y, distance(sizes[i], sizes[i + 1])),) if distance else ()
        steps.append(Step(f"s{i}", (x,), (y,), overlaps=overlaps))
    return Problem(blocks, tuple(steps), (names[0],), (names[-1],))


def resnet8() -> Problem:
    """Stem and three residual stages on 32x32x3; the last two halve, with a convolution on the skip."""
    sizes = {"image": 3072, "stem": 16384, "logits": 10, "pool": 64}
    steps = [Step("stem", ("image",), ("stem",))]
    last = "stem"
    for i, size in enumerate((16384, 8192, 4096)):
        a, b, skip, total = (f"{kind}{i}" for kind in ("a", "b", "skip", "sum"))
        sizes |= {a: size, b: size, total: size} | ({skip: size} if i else {})
        steps += [Step(a, (last,), (a,)), Step(b, (a,), (b,))]
        steps += [Step(skip, (last,), (skip,))] if i else []
        overlaps = (Overlap(b, total, 0),) if i else ()
        steps.append(Step(total, (b, skip if i else last), (total,), overlaps=overlaps))
        last = total
    steps += [Step("pool", (last,), ("pool",)), Step("logits", ("pool",), ("logits",))]
    return Problem({n: Block(n, s) for n, s in sizes.items()}, tuple(steps), ("image",), ("logits",))


@pytest.mark.parametrize(
    ("problem", "nbytes"),
    [
        (chain(490, *[8000] * 9, 64, 12), 16000),  # keyword spotting
        (chain(640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640), 768),  # anomaly detection
        (resnet8(), 49152),  # image classification: the first stage holds its input, its middle and its end
        (chain(490, *[8000] * 9, 64, 12, distance=lambda x, y: 0), 8000),  # all in place
    ],
    ids=["kws", "ad", "resnet8", "in place"],
)
def test_known_networks(problem: Problem, nbytes: int) -> None:
    found = plan(problem)
    assert verify(problem, found) == ()
    assert (found.nbytes, found.lower_bound, found.optimal) == (nbytes, nbytes, True)
    assert found.nbytes <= found.greedy_bytes and found.liveness_bytes <= found.greedy_bytes


def test_overlap_drifts_down_until_it_must_jump() -> None:
    """A step needs 8100 bytes, but the fall of 100 per step must be paid for: by a staircase or a jump."""
    found = plan(chain(*[8000] * 6, distance=lambda x, y: 100))
    assert (found.nbytes, found.optimal) == (8500, True)
    found = plan(chain(*[8000] * 31, distance=lambda x, y: 1000))
    assert (found.nbytes, found.optimal) == (16000, True)


def test_order_is_chosen() -> None:
    """Two branches, each with a wide middle: one must be finished before the other starts."""
    sizes = {"in": 1, "a": 10, "b": 10, "x": 1, "y": 1, "out": 1}
    steps = (
        Step("to a", ("in",), ("a",)),
        Step("to b", ("in",), ("b",)),
        Step("to x", ("a",), ("x",)),
        Step("to y", ("b",), ("y",)),
        Step("join", ("x", "y"), ("out",)),
    )
    problem = Problem({n: Block(n, s) for n, s in sizes.items()}, steps, ("in",), ("out",))
    found = plan(problem)
    assert (found.nbytes, found.liveness_bytes, verify(problem, found)) == (12, 21, ())
    both = dataclasses.replace(problem, after=(("to a", "to y"), ("to b", "to x")))
    assert plan(both).nbytes == 21


def test_wide_graph_falls_back_to_a_gap() -> None:
    """300 steps, 149 branches: too wide to search, yet a right answer with an honest bound."""
    blocks = {"in": Block("in", 100), "out": Block("out", 40)}
    steps = []
    for i in range(149):
        blocks |= {f"a{i}": Block(f"a{i}", 10 + i * 7 % 50), f"b{i}": Block(f"b{i}", 5 + i * 3 % 20)}
        steps += [Step(f"p{i}", ("in",), (f"a{i}",)), Step(f"q{i}", (f"a{i}",), (f"b{i}",))]
    steps.append(Step("join", tuple(f"b{i}" for i in range(149)), ("out",)))
    problem = Problem(blocks, tuple(steps), ("in",), ("out",))
    found = plan(problem)
    assert verify(problem, found) == ()
    assert sum(blocks[f"b{i}"].nbytes for i in range(149)) < found.lower_bound <= found.nbytes <= found.greedy_bytes
    assert found.optimal == (found.lower_bound == found.nbytes)


def test_nothing_and_almost_nothing() -> None:
    assert plan(Problem({}, (), (), ())).nbytes == 0
    alone = Problem({"x": Block("x", 7, 4), "y": Block("y", 3, 4)}, (), ("x", "y"), ("x",))
    assert (plan(alone).nbytes, verify(alone, plan(alone))) == (11, ())  # 7 bytes, one lost, 3 bytes
    assert lifetimes(alone, ()) == {"x": (0, 0), "y": (0, 0)}


def test_an_unlawful_listing_is_put_in_order() -> None:
    problem = chain(3, 5, 2, 4)
    mixed = dataclasses.replace(problem, steps=problem.steps[::-1])
    assert plan(mixed).order == ("s0", "s1", "s2")


def test_effort_is_a_bound_not_a_condition() -> None:
    for seed in range(20):
        problem = random_problem(seed)
        quick = plan(problem, effort=0)
        assert verify(problem, quick) == ()
        assert quick.lower_bound <= plan(problem).nbytes <= quick.nbytes


def test_same_answer_whatever_the_hash_seed() -> None:
    code = "from test_planner import *; print([plan(random_problem(s)) for s in range(30)], plan(resnet8()))"
    here = os.path.dirname(__file__)
    path = os.pathsep.join((here, os.path.join(here, "..", "..")))
    said = set()
    for seed in ("0", "1", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        said.add(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout)
    assert len(said) == 1


def test_lifetimes() -> None:
    blocks = {n: Block(n, 4) for n in ("in", "unread", "a", "dead", "out")}
    steps = (
        Step("one", ("in",), ("a",), scratch=8),
        Step("two", ("a",), ("out", "dead")),
        Step("three", ("in",), ()),
        Step("four", ("out",), ()),
    )
    problem = Problem(blocks, steps, ("in", "unread"), ("a",))
    spans = {"in": (0, 2), "unread": (0, 0), "a": (0, 3), "one#scratch": (0, 0), "dead": (1, 1), "out": (1, 3)}
    assert lifetimes(problem, ("one", "two", "three", "four")) == spans


PLANTED = Problem(
    {n: Block(n, 8, 4) for n in ("in", "a", "b", "out")},
    (
        Step("one", ("in",), ("a",), overlaps=(Overlap("in", "a", 4),)),
        Step("two", ("a",), ("b",), scratch=4, overlaps=(Overlap("a", "b", 0),)),
        Step("three", ("a", "b"), ("out",), overlaps=(Overlap("b", "out", 0),)),
    ),
    ("in",),
    ("out",),
)
RIGHT = Placement(("one", "two", "three"), {"in": 4, "a": 0, "b": 8, "two#scratch": 16, "out": 8}, 20, 20, True, 24, 20)


def test_verify_accepts_what_is_right() -> None:
    assert verify(PLANTED, RIGHT) == ()
    assert plan(PLANTED).nbytes == 20


@pytest.mark.parametrize(
    ("offsets", "said"),
    [
        ({"in": 0}, "a at 0..8 lies on in"),  # closer than the permitted distance
        ({"b": 0}, "b at 0..8 lies on a"),  # permitted only if a died there, but step three reads it
        ({"two#scratch": 12}, "two#scratch at 12..16 lies on b"),
        ({"out": 12}, "out at 12..20 lies on b"),
        ({"b": 10, "two#scratch": 20}, "b: no multiple of 4"),
        ({"two#scratch": 20}, "two#scratch: outside the arena"),
        ({"in": -4}, "in: outside the arena"),
    ],
)
def test_verify_catches_wrong_offsets(offsets: dict[str, int], said: str) -> None:
    wrong = dataclasses.replace(RIGHT, offsets={**RIGHT.offsets, **offsets})
    assert any(said in complaint for complaint in verify(PLANTED, wrong))


def test_verify_catches_wrong_orders_and_sets() -> None:
    assert verify(PLANTED, dataclasses.replace(RIGHT, order=("two", "one", "three")))
    assert verify(PLANTED, dataclasses.replace(RIGHT, order=("one", "two")))
    assert verify(PLANTED, dataclasses.replace(RIGHT, offsets={"in": 0}))
    assert verify(dataclasses.replace(PLANTED, after=(("two", "one"),)), RIGHT)


def test_verify_catches_any_block_moved_onto_a_neighbour() -> None:
    """In an optimal plan of a clique every byte is taken: any move of one block is caught."""
    names = "abcd"
    join = Step("join", tuple(names), ("e",))
    problem = Problem({n: Block(n, 3) for n in (*names, "e")}, (join,), tuple(names), ("e",))
    found = plan(problem)
    for name, offset in found.offsets.items():
        for other in set(range(found.nbytes)) - {offset}:
            assert verify(problem, dataclasses.replace(found, offsets={**found.offsets, name: other}))


@pytest.mark.parametrize(
    "broken",
    [
        {"inputs": ()},
        {"outputs": ("nobody",)},
        {"after": (("one", "nobody"),)},
        {"after": (("three", "one"),)},
        {"steps": PLANTED.steps * 2},
        {"blocks": {**PLANTED.blocks, "stray": Block("stray", 1)}},
        {"blocks": {**PLANTED.blocks, "a": Block("a", -1)}},
        {"steps": (*PLANTED.steps, Step("four", ("out",), (), overlaps=(Overlap("in", "out", 0),)))},
    ],
)
def test_malformed_problems_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        plan(dataclasses.replace(PLANTED, **broken))
