"""Threads on one entry: where they meet, and where values lie."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from brainc import ops, spmd
from brainc.dtypes import F32, I32, K16, V16, W8
from brainc.ir import Entry, Graph, Node, Role, TensorType, Value, attrs, const_value
from brainc.kernels import KernelTable
from brainc.ops._blocks import blocks
from brainc.spmd import Touch, Who, meetings
from brainc.target import load_target

A, B, C = (0, 64), (64, 128), (128, 192)


def shares(reads: tuple[tuple[int, int], ...], writes: tuple[tuple[int, int], ...]) -> Touch:
    return Touch(Who.SHARES, reads, writes)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([shares((), (A,)), shares((A,), (B,))], (1,)),  # read after written
        ([shares((A,), (B,)), shares((C,), (A,))], (1,)),  # written after read
        ([shares((), (A,)), shares((), (A,))], (1,)),  # written twice
        ([shares((A,), (B,)), shares((A,), (C,))], ()),  # read twice
        ([shares((), (A,)), shares((), (B,)), shares((), (C,)), shares((A, B, C), ())], (3,)),  # one for three
        ([shares((), (A,)), Touch(Who.EACH, (A,), ()), Touch(Who.EACH, (A,), ())], (1,)),
        ([Touch(Who.FIRST, (), (A,)), Touch(Who.FIRST, (A,), (A,))], ()),  # one thread is in order with itself
        ([Touch(Who.FIRST, (), (A,)), shares((A,), ())], (1,)),
        ([shares((), ((0, 10),)), shares(((9, 20),), ())], (1,)),  # a byte is enough
        ([shares((), ((0, 10),)), shares(((10, 20),), ())], ()),
        ([], ()),
    ],
)
def test_threads_meet_where_they_must_and_nowhere_else(steps: list[Touch], expected: tuple[int, ...]) -> None:
    assert meetings(steps) == expected


def test_no_two_threads_ever_touch_what_one_of_them_writes() -> None:
    """Random steps: between two meetings any two of them may run at the same time."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        steps = []
        for _ in range(12):
            spots = [
                (int(s), int(s) + int(n)) for s, n in zip(rng.integers(0, 90, 3), rng.integers(1, 20, 3), strict=True)
            ]
            who = Who.FIRST if rng.random() < 0.2 else Who.SHARES
            steps.append(Touch(who, tuple(spots[:2]), tuple(spots[2:])))
        bounds = [0, *meetings(steps), len(steps)]
        for start, end in pairwise(bounds):
            for i in range(start, end):
                for j in range(i + 1, end):
                    if (steps[i].who, steps[j].who) != (Who.FIRST, Who.FIRST):
                        assert not _touching(steps[i].writes, steps[j].reads + steps[j].writes)
                        assert not _touching(steps[i].reads, steps[j].writes)


def _touching(some: tuple[tuple[int, int], ...], others: tuple[tuple[int, int], ...]) -> bool:
    return any(set(range(*a)) & set(range(*b)) for a in some for b in others)


def layer(rows: int) -> Graph:
    """An attention block as decoders have it, for `rows` tokens at a time."""
    rng, heads, size = np.random.default_rng(0), 4, 32
    values: dict[str, Value] = {}
    nodes: list[Node] = []

    def add(name: str, op: str, *inputs: str, **given: int | float | str) -> str:
        made = ops.get(op).infer([values[i].type if i else None for i in inputs], given)
        if made:
            values[name] = Value(name, made[0])
        nodes.append(Node(f"n/{name}", op, inputs, (name,) if made else (), attrs(**given)))
        return name

    def weight(name: str, n: int) -> str:
        values[name] = const_value(name, blocks(rng, (n, heads * size), W8), W8)
        return name

    wide = heads * size
    for name, type_ in (("x", TensorType(F32, (rows, wide))), ("pos", TensorType(I32, (1,)))):
        values[name] = Value(name, type_, Role.INPUT)
    for name, kind in (("keys", K16), ("values", V16)):
        values[name] = Value(name, TensorType(kind, (heads, 2, -(-size // 32))), Role.STATE)
    values["norm"] = const_value("norm", np.ones(wide, np.float32), F32)
    h = add("h", "rms8", "x", "norm", eps=1e-5)
    q, k, v = (add(n, "dense8", h, weight(f"w{n}", wide)) for n in "qkv")
    for n, cache in ((k, "keys"), (v, "values")):
        add(f"{n}.kept", "keep", cache, n, "pos")
    y = add("y", "attend", q, "keys", "values", "pos", heads=heads, scale=0.1)
    add("out", "dense8", add("a", "block8", y), weight("wo", wide), "", "x")
    values["out"] = Value("out", values["out"].type, Role.OUTPUT)
    return Graph("layer", values, (Entry("step", ("x", "pos"), ("out",), tuple(nodes)),))


@pytest.mark.parametrize("rows", [1, 5])
def test_a_layer_has_few_meetings_and_its_values_lie_apart(rows: int) -> None:
    graph, table = layer(rows), KernelTable(load_target("c99"))
    choices = {node.name: table.choose(graph, node) for node in graph.nodes()}
    layout = spmd.lay_out(graph, [choices])
    (entry,) = layout.entries
    assert all(home.offset % spmd.ALIGN == 0 for home in (*entry.homes.values(), *layout.states.values()))
    if rows == 1:
        assert len(entry.meets) == 3  # before caches are filled, before they are read, before the sum of all heads
        assert entry.homes["h"].own and entry.homes["a"].own and not entry.homes["q"].own
        assert entry.who["n/h"] is Who.EACH and entry.who["n/k.kept"] is Who.FIRST and entry.who["n/y"] is Who.SHARES
    limits = {True: layout.own, False: layout.arena}
    for name in ("x", "pos", "h", "q", "k", "v", "y", "a", "out"):
        home = entry.homes[name]
        assert home.offset >= 0 and home.offset + home.nbytes <= limits[home.own], name
    assert all(
        layout.arena <= h.offset and h.offset + h.nbytes <= layout.arena + layout.state for h in layout.states.values()
    )


def test_a_kernel_without_shares_in_one_accent_is_run_by_one_thread() -> None:
    """Else every thread would write all of what the others write."""
    graph, table = layer(5), KernelTable(load_target("c99"))
    choices = {node.name: table.choose(graph, node) for node in graph.nodes()}
    whole = {name: replace(choice, kernel=replace(choice.kernel, split="")) for name, choice in choices.items()}
    (entry,) = spmd.lay_out(graph, [choices, choices | {"n/q": whole["n/q"]}]).entries
    assert entry.who["n/q"] is Who.FIRST and not entry.homes["q"].own and entry.who["n/k"] is Who.SHARES
    (entry,) = spmd.lay_out(graph, [whole, whole]).entries
    assert entry.who["n/q"] is Who.EACH and entry.homes["q"].own  # nobody waits for a call of one share


def test_nothing_is_written_over_what_is_still_needed() -> None:
    """Each value keeps its bytes from the step that writes it to the last one that reads it."""
    graph, table = layer(5), KernelTable(load_target("c99"))
    (entry,) = spmd.lay_out(graph, [{node.name: table.choose(graph, node) for node in graph.nodes()}]).entries
    alive = {"x": -1, "pos": -1}
    last = {name: i for i, node in enumerate(entry.nodes) for name in node.operands} | {"out": len(entry.nodes)}
    for index, node in enumerate(entry.nodes):
        for made in node.outputs:
            for other in (o for o in alive if last[o] >= index and o != made):
                a, b = entry.homes[made], entry.homes[other]
                assert a.own != b.own or a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset, (
                    made,
                    other,
                )
            alive[made] = index
