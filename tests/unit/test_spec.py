"""Each clause of the spec: a graph that breaks it is refused, and the clause is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import Builder, random_network

from brainc import spec
from brainc.dtypes import F32, I8, I32, U8
from brainc.errors import BugError
from brainc.ir import Attr, Entry, Graph, Node, Quant, Role, Stage, TensorType, Value, attrs, const_value

Q = Quant.tensor(0.5, 0)


def said(graph: Graph) -> str:
    return "\n".join(spec.problems(graph))


def small() -> Graph:
    b = Builder()
    x = b.input("x", (1, 3))
    return b.graph(b.add("clamp", b.add("dense", x, b.normal(2, 3), b.normal(2)), lo=0.0))


def changed(graph: Graph, index: int, **fields: object) -> Graph:
    nodes = list(graph.entries[0].nodes)
    nodes[index] = replace(nodes[index], **fields)  # type: ignore[arg-type]
    return replace(graph, entries=(replace(graph.entries[0], nodes=tuple(nodes)),))


def with_value(graph: Graph, value: Value) -> Graph:
    return replace(graph, values={**graph.values, value.name: value})


@pytest.mark.parametrize("seed", range(10))
def test_imported_networks_are_legal(seed: int) -> None:
    assert said(random_network(seed, channels_first=bool(seed % 2))) == ""


def test_verify_raises_a_bug() -> None:
    with pytest.raises(BugError, match="test @IMPORTED is not legal"):
        spec.verify(changed(small(), 0, outputs=("clamp1",)))


def test_names() -> None:
    graph = small()
    assert "value clamp1 is defined 2 times" in said(changed(graph, 0, outputs=("clamp1",)))
    assert "node n_dense0 is defined 2 times" in said(changed(graph, 1, name="n_dense0"))
    assert "no value nowhere" in said(changed(graph, 1, inputs=("nowhere",)))
    twice = replace(graph, entries=graph.entries * 2)
    assert "entry step is defined 2 times" in said(twice)


def test_order() -> None:
    graph = small()
    turned = replace(graph.entries[0], nodes=graph.entries[0].nodes[::-1])
    assert "dense0 is read before it is written in step" in said(replace(graph, entries=(turned,)))


def test_roles() -> None:
    graph = small()
    weights = graph.entries[0].nodes[0].inputs[1]
    loose = replace(graph.values[weights], const=None, role=Role.TEMP)
    assert f"operand w ({weights}) is not a constant" in said(with_value(graph, loose))
    empty = replace(graph.values[weights], const=None)
    assert f"constant {weights} has no numbers" in said(with_value(graph, empty))
    port = replace(graph.values["x"], role=Role.TEMP)
    assert "port x is not an input" in said(with_value(graph, port))
    state = replace(graph.values["dense0"], role=Role.STATE)
    assert "state dense0 is written by a node" in said(with_value(graph, state))


def test_types_are_checked_not_trusted() -> None:
    graph = small()
    wrong = replace(graph.values["dense0"], type=TensorType(F32, (1, 4)))
    assert "dense0 is f32[1,4], not f32[1,2]" in said(with_value(graph, wrong))
    assert "unknown or missing: nonsense" in said(changed(graph, 1, attrs=attrs(nonsense=1)))


def test_quants() -> None:
    graph = small()
    for quant, words in (
        (Q, "x is f32 and has a quant"),
        (Quant((0.5,), (0,), 1), "x has 1 scales and 1 zeros for 3 slices"),
        (Quant.tensor(0.0, 0), "x has a scale that is not positive"),
    ):
        value = replace(graph.values["x"], type=replace(graph.type("x"), quant=quant))
        assert words in said(with_value(graph, value))


def one(op: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], **given: Attr) -> Graph:
    """A canonical graph of one op on float inputs, between two views so that no port is near."""
    b = Builder()
    names = [b.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    b.values["y"] = Value("y", TensorType(F32, result))
    b.nodes.append(Node("n", op, tuple(names), ("y",), attrs(**given)))
    return b.graph(b.add("clamp", "y", lo=0.0), stage=Stage.CANONICAL)


@pytest.mark.parametrize(
    "graph, words",
    [
        (one("add", [(2, 3), (2, 1)], (2, 3)), "operands [2, 3] and [2, 1] do not broadcast"),
        (one("transpose", [(1, 3)], (3, 1), perm=(1, 0)), "is a reshape"),
        (one("reshape", [(1, 3)], (1, 3), shape=(1, 3)), "changes nothing"),
    ],
)
def test_canonical_forms(graph: Graph, words: str) -> None:
    assert words in said(graph)


def test_canonical_biases_and_depthwise() -> None:
    b = Builder()
    y = b.add("conv2d", b.input("x", (1, 5, 5, 4)), b.normal(4, 3, 3, 1), group=4)
    text = said(b.graph(y, stage=Stage.CANONICAL))
    assert "the bias is not explicit" in text
    assert "is a dwconv2d" in text


def test_canonical_has_one_8_bit_type_inside() -> None:
    b = Builder()
    y = b.add("clamp", b.input("x", (2,)), lo=0.0)
    z = b.add("clamp", y, lo=0.0)
    graph = b.graph(z, stage=Stage.CANONICAL)
    inside = replace(graph.values[y], type=TensorType(U8, (2,), Q))
    assert f"{y} is a quantised u8 inside" in said(with_value(graph, inside))


def integer(operands: dict[str, Value], **given: Attr) -> Graph:
    values = {**operands, "y": Value("y", TensorType(I8, (1, 2), Q), Role.OUTPUT)}
    inputs = tuple(n for n, v in operands.items() if v.role is Role.INPUT)
    node = Node("n", "qdense", tuple(operands), ("y",), attrs(**{"zy": 0, **given}))
    return Graph("test", values, (Entry("step", inputs, ("y",), (node,)),), Stage.INTEGER)


def qdense(**other: Value) -> dict[str, Value]:
    return {
        "x": Value("x", TensorType(I8, (1, 3), Q), Role.INPUT),
        "w": const_value("w", np.ones((2, 3)), I8),
        "b": const_value("b", np.zeros(2), I32),
        "m": const_value("m", np.ones(1), I32),
        "s": const_value("s", np.ones(1), I8),
    } | other


def test_integer_ops_are_integer() -> None:
    assert said(integer(qdense())) == ""
    assert "attribute zy is a float" in said(integer(qdense(), zy=0.5))
    floats = qdense(b=const_value("b", np.zeros(2), F32))
    assert "operand b (b) is f32, not i32" in said(integer(floats))


def test_no_real_op_on_quantised_edges_once_integer() -> None:
    b = Builder()
    y = b.add("clamp", b.input("x", (2,), I8, Q), quant=Q, lo=0.0)
    assert said(b.graph(y, stage=Stage.QUANTIZED)) == ""
    assert "a real op on quantised edges" in said(b.graph(y, stage=Stage.INTEGER))


def test_ready_asks_for_kernels() -> None:
    graph = small().at(Stage.READY)
    assert said(graph) == ""
    problems = list(spec.problems(graph, lambda g, node: node.op != "clamp"))
    assert problems == ["n_clamp1 (clamp): no kernel"]


@pytest.mark.parametrize("a, b, fits", [((2, 3), (3,), True), ((2, 3), (), True), ((2, 3), (2, 1), False)])
def test_broadcasts(a: tuple[int, ...], b: tuple[int, ...], fits: bool) -> None:
    assert spec.broadcasts(a, b) is fits


def test_moves_memory() -> None:
    assert not spec.moves_memory((1, 5, 1, 4), (0, 2, 1, 3))
    assert spec.moves_memory((1, 5, 2, 4), (0, 2, 1, 3))
