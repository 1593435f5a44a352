"""The arena planner: exact on small graphs (against exhaustive search), right on all, the same on every run.

The exhaustive search knows bytes and nothing else: it tries every step order and every aligned offset, for growing arenas,
until one fits. It shares no idea with the planner (no bound, no normal form, no propagation).
"""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from brainc.planner import Block, Overlap, Placement, Problem, Step, lifetimes, plan, verify

Alive = tuple[tuple[str, int], ...]  # blocks alive and their offsets


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

    def placings(self, alive: Alive, new: tuple[str, ...], lent: dict[tuple[str, str], int]) -> Iterator[Alive]:
        """Every way to add the blocks `new` to those alive. `lent`: least offset(x) - offset(y) per permitted pair."""
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
            if all(not mine & ((1 << n) - 1 << spot) or spot - at >= least for spot, n, least in shared):
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
            lent: dict[tuple[str, str], int] = {}
            for o in step.overlaps:
                if o.x not in wanted:
                    lent[o.x, o.y] = min(o.distance, lent.get((o.x, o.y), o.distance))
            scratch = (f"{step.name}#scratch",) if step.scratch else ()
            for placed in self.placings(alive, step.writes + scratch, lent):
                if self.completes(now, tuple(sorted(p for p in placed if p[0] in wanted))):
                    return True
        return False


def smallest_arena(problem: Problem) -> int:
    """The least number of bytes in which the problem fits."""
    height = 0
    while not Exhaustive(problem, height).fits():
        height += 1
    return height


def crowd(problem: Problem) -> int:
    """Most bytes alive at once in the order written, nothing shared: what decides how long trying everything takes."""
    spans = lifetimes(problem, [s.name for s in problem.steps])
    room = {b.name: b.nbytes for b in problem.blocks.values()}
    room |= {f"{s.name}#scratch": s.scratch for s in problem.steps}
    return max(sum(room[n] for n, (a, b) in spans.items() if a <= t <= b) for t in range(len(problem.steps)))


def random_problem(seed: int) -> Problem:
    """The first of the problems drawn from `seed` that can be searched exhaustively in reasonable time."""
    rng = random.Random(seed)
    while crowd(problem := draw(rng)) > 11:
        pass
    return problem


def draw(rng: random.Random) -> Problem:
    """Up to 9 steps on up to 3 inputs: random sizes, alignments, overlaps, scratch, outputs, dead values, order rules."""
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
    steps: list[Step] = []
    for k in range(rng.randint(2, 9)):
        known = list(blocks)
        reads = tuple({rng.choice(known[-rng.randint(1, 4) :]): None for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))})
        writes = tuple(block(f"b{k}{c}") for c in "xy"[: rng.choice((1, 1, 1, 1, 2))])
        overlaps = tuple(
            Overlap(x, y, rng.choice((0, 0, 1, 2, 9, -1, -2, -3, rng.randint(-7, 7))))
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
