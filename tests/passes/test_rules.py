"""Rules one by one: a small graph before (a function), its text after (beside it), and equal answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graphs import FROM_ROWS, TO_ROWS, Builder

from brainc import interp, passes, spec
from brainc.dtypes import I8, U8
from brainc.errors import BugError, UnsupportedError
from brainc.ir import Const, Graph, Node, Quant, Role, Stage, TensorType, Value
from brainc.passes import Context, Options
from brainc.passes.legalize import drop_dead, legalize
from brainc.passes.ports import port_types
from brainc.passes.rewrite import Replacement, View, apply, rule

Make = Callable[[Builder], str]
Q = Quant.tensor(0.5, -10)


def after(graph: Graph, *, atol: float = 1e-5) -> str:
    """The nodes of the canonical graph, a line each, once it is known to answer as before."""
    done = passes.run(graph, Context(), until=Stage.CANONICAL)
    for seed in range(3):
        inputs = interp.random_inputs(graph, None, seed)
        want, got = interp.outputs(graph, None, inputs), interp.outputs(done, None, inputs)
        for port in want:
            np.testing.assert_allclose(got[port], want[port], atol=atol, rtol=1e-5)
    return body(done)


def body(graph: Graph) -> str:
    return "\n".join(
        f"{node.outputs[0]} {graph.type(node.outputs[0])} = {node.op}({', '.join(node.inputs)})"
        + "".join(f" {k}={v}" for k, v in sorted(node.attrs.items()))
        for node in graph.nodes()
    )


def norm_into_conv(b: Builder) -> str:
    x = b.input("x", (1, 2, 6, 6))
    y = b.spatial("conv2d", x, b.normal(4, 3, 3, 2), channels_first=True)
    y = b.add("add", b.add("mul", y, b.normal(4, 1, 1)), b.normal(4, 1, 1))
    return b.add("clamp", y, name="y", lo=0.0, hi=6.0)


def pooled_after_flatten(b: Builder) -> str:
    x = b.input("x", (1, 2, 4, 4))
    y = b.spatial("maxpool2d", x, channels_first=True, kernel=(2, 2), strides=(2, 2))
    y = b.add("clamp", b.add("reshape", y, shape=(1, 8)), lo=0.0)
    return b.add("dense", y, b.normal(3, 8), b.normal(3), name="y")


def image_from_dense(b: Builder) -> str:
    x = b.input("x", (1, 3))
    y = b.add("clamp", b.add("dense", x, b.normal(8, 3), b.normal(8)), lo=0.0)
    y = b.add("transpose", b.add("reshape", y, shape=(1, 2, 2, 2)), perm=TO_ROWS)
    return b.add("upsample2d", y, name="y", factors=(2, 2))


def mean_over_picture(b: Builder) -> str:
    x = b.input("x", (1, 4, 4, 3))
    y = b.add("transpose", x, perm=FROM_ROWS)
    y = b.add("reduce", b.add("reshape", y, shape=(3, 16, 1)), fn="mean")
    return b.add("reshape", y, name="y", shape=(1, 3))


def shuffled_channels(b: Builder) -> str:
    x = b.input("x", (1, 2, 2, 6))
    y = b.add("reshape", b.add("transpose", x, perm=FROM_ROWS), shape=(1, 2, 3, 2, 2))
    y = b.add("reshape", b.add("transpose", y, perm=(0, 2, 1, 3, 4)), shape=(1, 6, 2, 2))
    return b.add("transpose", y, name="y", perm=TO_ROWS)


def hard_swish(b: Builder) -> str:
    x = b.input("x", (1, 5))
    y = b.add("dense", x, b.normal(4, 5), b.normal(4))
    gate = b.add("clamp", b.add("add", y, b.const(np.array([3.0], np.float32))), lo=0.0, hi=6.0)
    return b.add("div", b.add("mul", y, gate), b.const(np.array(6.0, np.float32)), name="y")


def depthwise_with_border(b: Builder) -> str:
    x = b.input("x", (1, 5, 5, 3))
    y = b.add("pad", x, before=(0, 1, 1, 0), after=(0, 1, 1, 0))
    return b.add("conv2d", y, b.normal(3, 3, 3, 1), b.normal(3), name="y", group=3)


def constants_first_and_wide(b: Builder) -> str:
    x = b.input("x", (1, 2, 2, 3))
    y = b.add("mul", b.normal(1, 1, 1, 3), x)
    gate = b.add("reduce", b.add("reshape", y, shape=(1, 4, 3)), fn="max")
    return b.add("add", y, b.add("reshape", gate, shape=(1, 1, 1, 3)), name="y")


def matrix_of_constants(b: Builder) -> str:
    x = b.input("x", (1, 4, 3))
    y = b.add("matmul", x, b.normal(1, 3, 5))
    return b.add("clamp", b.add("add", y, b.normal(5)), name="y", lo=0.0)


AFTER: dict[Make, str] = {
    norm_into_conv: """
transpose0 f32[1,6,6,2] = transpose(x) perm=(0, 2, 3, 1)
y/rows f32[1,4,4,4] = conv2d(transpose0, n_conv2d1/w, n_conv2d1/b.3) hi=6.0 lo=0.0
y f32[1,4,4,4] = transpose(y/rows) perm=(0, 3, 1, 2)
""",
    pooled_after_flatten: """
transpose0 f32[1,4,4,2] = transpose(x) perm=(0, 2, 3, 1)
maxpool2d1 f32[1,2,2,2] = maxpool2d(transpose0) kernel=(2, 2) strides=(2, 2)
reshape3/rows f32[1,8] = reshape(maxpool2d1) shape=(1, 8)
clamp4/rows f32[1,8] = clamp(reshape3/rows) lo=0.0
y f32[1,3] = dense(clamp4/rows, c6/rows, c7)
""",
    image_from_dense: """
clamp1 f32[1,8] = dense(x, c1/rows, c2/rows) lo=0.0
transpose3 f32[1,2,2,2] = reshape(clamp1) shape=(1, 2, 2, 2)
y f32[1,4,4,2] = upsample2d(transpose3) factors=(2, 2)
""",
    mean_over_picture: """
reshape1/rows/lying f32[1,16,3] = reshape(x) shape=(1, 16, 3)
y f32[1,3] = reduce(reshape1/rows/lying) fn=mean
""",
    shuffled_channels: """
reshape1/rows f32[1,2,2,2,3] = reshape(x) shape=(1, 2, 2, 2, 3)
y/rows f32[1,2,2,3,2] = transpose(reshape1/rows) perm=(0, 1, 2, 4, 3)
y f32[1,2,2,6] = reshape(y/rows) shape=(1, 2, 2, 6)
""",
    hard_swish: """
dense0 f32[1,4] = dense(x, c1, c2)
y f32[1,4] = unary(dense0) fn=hard_swish
""",
    depthwise_with_border: """
y f32[1,5,5,3] = dwconv2d(x, c2/dw, c3) pads=(1, 1, 1, 1)
""",
    constants_first_and_wide: """
mul0 f32[1,2,2,3] = mul(x, c1/rows)
reshape1 f32[1,4,3] = reshape(mul0) shape=(1, 4, 3)
reduce2 f32[1,3] = reduce(reshape1) fn=max
reshape3/tail f32[3] = reshape(reduce2) shape=(3,)
y f32[1,2,2,3] = add(mul0, reshape3/tail)
""",
    matrix_of_constants: """
n_matmul0/rows f32[4,3] = reshape(x) shape=(4, 3)
y/rows f32[4,5] = dense(n_matmul0/rows, c1/rows, n_matmul0/b.2) lo=0.0
y f32[1,4,5] = reshape(y/rows) shape=(1, 4, 5)
""",
}


@pytest.mark.parametrize("make", AFTER, ids=lambda m: m.__name__)
def test_before_and_after(make: Make) -> None:
    b = Builder()
    assert after(b.graph(make(b))) == AFTER[make].strip()


def quantised_picture(b: Builder, port: str) -> Graph:
    """uint8 picture, channels first: quantised conv + relu, pool, flatten, dense, dequantised."""
    rng = np.random.default_rng(1)
    x = b.input("x", (1, 2, 6, 6), U8)
    y = b.add("from_int", x, scale=0.02, zero=128)
    w = b.const(rng.integers(-127, 128, (4, 3, 3, 2)).astype(np.int8), Quant.tensor(0.01, 0))
    y = b.spatial("conv2d", y, w, b.normal(4), channels_first=True)
    y = b.add("clamp", y, lo=0.0)
    y = b.add("to_int", y, scale=0.05, zero=0, dtype="u8")
    y = b.add("from_int", y, scale=0.05, zero=0)
    y = b.spatial("maxpool2d", y, channels_first=True, kernel=(2, 2), strides=(2, 2))
    y = b.add("reshape", y, shape=(1, 16))
    v = b.const(rng.integers(0, 256, (3, 16)).astype(np.uint8), Quant.tensor(0.02, 128))
    y = b.add("to_int", b.add("dense", y, v), scale=0.1, zero=100, dtype="u8", name="y")
    return b.graph(b.add("from_int", y, scale=0.1, zero=100, name="z") if port == "f32" else y)


def test_uint8_inside_becomes_int8_and_ports_keep_their_type() -> None:
    graph = quantised_picture(Builder(), "u8")
    text = after(graph, atol=1.0)  # a tie may fall the other way
    assert [line.split(" = ")[1].split("(")[0] for line in text.splitlines()] == [
        *("qshift8", "transpose", "conv2d", "maxpool2d", "reshape", "dense", "qshift8")
    ]
    done = passes.run(graph, Context())
    assert (done.type("x").dtype, done.type("y").dtype) == (U8, U8)
    assert done.type("x").quant == Quant.tensor(0.02, 128)


def test_a_float_port_keeps_its_door_unless_int8_is_asked_for() -> None:
    graph = quantised_picture(Builder(), "f32")
    assert passes.run(graph, Context()).entries[0].nodes[-1].op == "from_int"
    bare = passes.run(graph, Context(Options(io="int8")))
    assert bare.type("z").dtype is I8
    assert bare.type("z").quant == Quant.tensor(0.1, -28)
    assert not [n for n in bare.nodes() if n.op == "from_int"]


def test_a_port_that_works_in_float_stays_float_and_says_so() -> None:
    b = Builder()
    graph = b.graph(b.add("unary", b.input("x", (2,)), fn="exp", name="y"))
    notes: list[str] = []
    assert port_types(graph, Context(Options(io="int8"), note=notes.append)) is graph
    assert notes == [f"port {p} stays float: nothing is quantised there" for p in ("x", "y")]


def test_requantising_between_two_scales_is_a_clamp_without_bounds() -> None:
    b = Builder()
    y = b.add("from_int", b.input("x", (4,), I8), scale=0.5, zero=-10)
    y = b.add("to_int", y, scale=0.25, zero=3, dtype="i8", name="y")
    assert after(b.graph(y)) == "y i8[4] = clamp(x)"


def test_quantising_back_to_the_same_is_nothing() -> None:
    b = Builder()
    y = b.add("reshape", b.input("x", (4,), I8), shape=(2, 2))
    for _ in range(2):
        y = b.add("to_int", b.add("from_int", y, scale=0.5, zero=1), scale=0.5, zero=1, dtype="i8")
    assert after(b.graph(y)) == f"{y} i8[2,2] = reshape(x) shape=(2, 2)"


def test_a_model_that_contradicts_itself_keeps_its_doors() -> None:
    """Written on one scale, read on another: no quant fits, so the layer stays real."""
    b = Builder()
    y = b.add("to_int", b.add("unary", b.input("x", (4,)), fn="tanh"), scale=0.1, zero=0, dtype="i8")
    graph = b.graph(b.add("from_int", y, scale=0.2, zero=0))
    done = passes.run(graph, Context(), until=Stage.CANONICAL)
    assert [n.op for n in done.nodes()] == ["unary", "to_int", "from_int"]


def test_off_centre_weights_are_rounded_and_told() -> None:
    b = Builder()
    x = b.input("x", (1, 2), I8)
    w = b.const(np.array([[0, 255]], np.uint8), Quant.tensor(0.01, 100))
    y = b.add("dense", b.add("from_int", x, scale=0.1, zero=0), w)
    y = b.add("to_int", y, scale=0.5, zero=0, dtype="i8")
    notes: list[str] = []
    done = passes.run(b.graph(y), Context(note=notes.append), until=Stage.CANONICAL)
    weights = done.values[next(done.nodes()).inputs[1]]
    assert notes == [f"{w}: weights lie off centre; rounded to int8 around zero"]
    real = interp.to_real(weights.array(), weights.type)
    np.testing.assert_allclose(real, [[-1.0, 1.55]], atol=1.55 / 254)


def test_a_state_is_remembered_through_all_canonical_passes() -> None:
    """A uint8 state becomes int8, its start too; every call answers as on the imported graph."""
    b = Builder(3)
    start = Const.of(np.full((1, 4), 128, np.uint8))
    b.values["h"] = Value("h", TensorType(U8, (1, 4)), Role.STATE, start)
    y = b.add("concat", b.input("x", (1, 3)), b.add("from_int", "h", scale=0.02, zero=128), axis=1)
    y = b.add("unary", b.add("dense", y, b.normal(4, 7, scale=0.5)), fn="tanh")
    y = b.add("to_int", y, scale=0.02, zero=128, dtype="u8")
    b.nodes.append(Node("h/assign", "assign", ("h", y), ()))
    graph = b.graph(b.add("from_int", y, scale=0.02, zero=128))
    done = passes.run(graph, Context(), until=Stage.CANONICAL)
    assert (done.type("h").dtype, done.type("h").quant) == (I8, Quant.tensor(0.02, 0))
    before, now = interp.fresh_state(graph), interp.fresh_state(done)
    for seed in range(4):
        inputs = interp.random_inputs(graph, None, seed)
        want, got = interp.run(graph, None, inputs, before), interp.run(done, None, inputs, now)
        for port in graph.entries[0].outputs:
            np.testing.assert_array_equal(got[port], want[port])


def test_drop_dead_and_legalize() -> None:
    b = Builder()
    x = b.input("x", (2,))
    b.add("unary", x, fn="exp")
    graph = b.graph(b.add("clamp", x, lo=0.0))
    alive = drop_dead(graph, Context())
    assert [n.op for n in alive.nodes()] == ["clamp"]
    assert drop_dead(alive, Context()) is alive
    with pytest.raises(UnsupportedError, match=r"no kernel for clamp \(f32\[2\], f32\[2\]\)"):
        legalize(alive, Context(has_kernel=lambda g, n: False))


@rule("clamp")
def skip_clamp(node: Node, view: View) -> Replacement | None:
    return Replacement(renames={node.outputs[0]: node.inputs[0]})


@rule("unary")
def exp_to_log(node: Node, view: View) -> Replacement | None:
    return Replacement((Node(node.name, "unary", node.inputs, node.outputs, {"fn": "log"}),))


def test_the_driver_keeps_ports_drops_the_dead_and_knows_when_nothing_matched() -> None:
    b = Builder()
    x = b.input("x", (2,))
    y = b.add("clamp", b.add("unary", x, fn="exp"), lo=0.0, name="y")
    graph = b.graph(y)
    done = apply(graph, [skip_clamp])
    assert body(done) == "y f32[2] = unary(x) fn=exp"  # the port's name moves to what stands for it
    assert apply(done, [skip_clamp]) is done
    direct = Builder()
    port = direct.graph(direct.add("clamp", direct.input("x", (2,)), lo=0.0))
    assert apply(port, [skip_clamp]) is port  # an input port cannot become an output port


def test_rules_that_never_end_are_a_bug_of_ours() -> None:
    b = Builder()
    graph = b.graph(b.add("unary", b.input("x", (2,)), fn="exp"))
    with pytest.raises(BugError, match="rules undo each other: exp_to_log"):
        apply(graph, [exp_to_log])


def test_every_result_here_is_legal() -> None:
    for make in AFTER:
        b = Builder()
        spec.verify(passes.run(b.graph(make(b)), Context()))
