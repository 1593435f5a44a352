"""Modules become one graph that computes what they compute alone; texts of errors are in tests/errors."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from brainc import interp, link, manifest, spec
from brainc.dtypes import F32, I8, I32, U8, Array, DType
from brainc.errors import ManifestError, UnsupportedError
from brainc.ir import Entry, Graph, Node, Quant, Role, TensorType, Value, attrs, const_value
from brainc.link import carried, conversion, same
from brainc.manifest import Brain, End, Module, Wire
from brainc.ops import assign
from brainc.port_types import port_type

RNG = np.random.default_rng(3)


def graph(name: str, ports: dict[str, TensorType], nodes: list[Node], outs: dict[str, TensorType]) -> Graph:
    """An imported graph: ports, nodes in order, results by name; a name `w…` is a constant of ones."""
    made = {out for node in nodes for out in node.outputs}
    values = {n: Value(n, t, Role.INPUT) for n, t in ports.items()}
    values |= {n: Value(n, t, Role.OUTPUT if n[0] == "y" else Role.TEMP) for n, t in outs.items()}
    for node in nodes:
        for n in node.inputs:
            if n not in made and n not in values:
                values[n] = const_value(n, np.arange(1, 5, dtype=np.float32), F32)
    entry = Entry("step", tuple(ports), tuple(n for n in outs if n[0] == "y"), tuple(nodes))
    return Graph(name, values, (entry,))


def scaled(name: str, op: str = "mul") -> Graph:
    """y = x (op) w, floats [1,4]."""
    t = TensorType(F32, (1, 4))
    return graph(name, {"x": t}, [Node("n", op, ("x", "w"), ("y",))], {"y": t})


def summed(name: str) -> Graph:
    """y = x + h, floats [1,4]."""
    t = TensorType(F32, (1, 4))
    return graph(name, {"x": t, "h": t}, [Node("n", "add", ("x", "h"), ("y",))], {"y": t})


def quantised(name: str, scale: float, zero: int, dtype: DType = I8) -> Graph:
    """Integers in and out, 2x inside: y = to_int(2 * from_int(x))."""
    t, r = TensorType(dtype, (1, 4)), TensorType(F32, (1, 4))
    q = {"scale": scale, "zero": zero}
    nodes = [
        Node("in", "from_int", ("x",), ("a",), attrs(**q)),
        Node("twice", "add", ("a", "a"), ("b",)),
        Node("out", "to_int", ("b",), ("y",), attrs(**q, dtype=dtype.name)),
    ]
    return graph(name, {"x": t}, nodes, {"a": r, "b": r, "y": t})


def brain(*wires: str, entries: tuple[str, ...] = (), adapt: bool = False, modules: str = "a b") -> Brain:
    """A brain of modules a and b; a wire is written "a.x < in.p"."""
    found = []
    for line in wires:
        target, source = (End(*end.split(".")) for end in line.split(" < "))
        found.append(Wire(target, source, adapt))
    table = {n: Module(n, "onnx", Path(f"{n}.onnx")) for n in modules.split()}
    order = {"step": entries} if entries else {}
    return Brain("two", Path(), MappingProxyType(table), tuple(found), MappingProxyType(order))


def row() -> Array:
    return RNG.standard_normal((1, 4)).astype(np.float32)


CHAIN = ("b.x < a.y", "a.x < in.mic", "out.pwm < b.y")


def test_two_modules_compute_what_each_computes_alone() -> None:
    """One legal graph, prefixed names, ports named by the wires, the numbers of the modules in turn."""
    parts = {"a": scaled("a"), "b": scaled("b", "add")}
    linked = link.link(brain(*CHAIN), parts)
    spec.verify(linked)
    x = row()
    between = interp.outputs(parts["a"], "step", {"x": x})["y"]
    expected = interp.outputs(parts["b"], "step", {"x": between})["y"]
    assert np.array_equal(interp.outputs(linked, "step", {"mic": x})["pwm"], expected)
    assert set(linked.values) == {"mic", "pwm", "a/w", "b/w", "a/y"} and linked.name == "two"
    assert [n.name for n in linked.nodes()] == ["a/n", "b/n"]
    assert linked.values["a/w"].where.module == "a"


def test_call_order_follows_the_wires_and_ports_the_manifest() -> None:
    """Modules listed backwards are called forwards; ports stand in the order of the wires."""
    parts = {"b": summed("b"), "a": summed("a")}
    wires = ("b.h < in.second", "out.late < b.y", "a.x < in.first", "a.h < in.second", "b.x < a.y")
    linked = link.link(brain(*wires, "out.early < a.y", modules="b a"), parts)
    spec.verify(linked)
    assert [n.name for n in linked.nodes()] == ["a/n", "b/n"]
    assert linked.entries[0].inputs == ("second", "first") and linked.entries[0].outputs == ("late", "early")


def test_a_wire_to_itself_remembers_one_step() -> None:
    """An accumulator: the state starts at zero and holds the last sum."""
    linked = link.link(brain("a.x < in.x", "a.h < a.y", "out.sum < a.y", modules="a"), {"a": summed("a")})
    assert linked.values["a/h"].role is Role.STATE and linked.entries[0].nodes[-1].op == "assign"
    spec.verify(linked)
    state, total = interp.fresh_state(linked), np.zeros((1, 4), np.float32)
    for _ in range(3):
        x = row()
        total = total + x
        assert np.array_equal(interp.run(linked, "step", {"x": x}, state)["sum"], total)


def test_a_circle_opens_where_entries_say() -> None:
    """The module named first reads what the other gave one call before."""
    wires = ("a.x < in.x", "a.h < b.y", "b.x < a.y", "out.y < b.y")
    parts = {"a": summed("a"), "b": scaled("b")}
    with pytest.raises(ManifestError, match="a and b wait for each other"):
        link.link(brain(*wires), parts)
    forward = link.link(brain(*wires, entries=("a", "b")), parts)
    backward = link.link(brain(*wires, entries=("b", "a")), parts)
    assert [n.name for n in forward.nodes()] == ["a/n", "b/n", "a/h/assign"]
    assert [n.name for n in backward.nodes()] == ["b/n", "a/n", "b/x/assign"]
    for linked in (forward, backward):
        spec.verify(linked)


def test_a_module_behind_a_circle_does_not_open_it() -> None:
    """`c` only listens: though named first it is called last, and nothing reaches it late."""
    parts = {"c": scaled("c"), "a": summed("a"), "b": scaled("b")}
    wires = ("c.x < b.y", "a.x < in.x", "a.h < b.y", "b.x < a.y", "out.y < c.y")
    linked = link.link(brain(*wires, entries=("c", "a", "b"), modules="c a b"), parts)
    assert [n.name for n in linked.nodes()] == ["a/n", "b/n", "c/n", "a/h/assign"]


def test_an_integer_state_starts_at_its_zero_point() -> None:
    """Real zero, not raw zero, where the scale is known only from the node behind the door."""
    linked = link.link(brain("a.x < a.y", "out.y < a.y", modules="a"), {"a": quantised("a", 0.5, 7)})
    state = interp.fresh_state(linked)
    assert (interp.run(linked, "step", {}, state)["y"] == 7).all() and (state["a/x"] == 7).all()


def test_scales_are_compared_where_they_are_known() -> None:
    """Two int8 ports of different scales do not fit, of equal ones they do."""
    parts = {"a": quantised("a", 0.5, 7), "b": quantised("b", 0.25, 0)}
    assert carried(parts["a"], "y") == carried(parts["a"], "x") == port_type("i8[1,4] scale=0.5 zero=7")
    with pytest.raises(ManifestError) as caught:
        link.link(brain(*CHAIN), parts)
    assert caught.value.what == "a.y is i8[1,4] scale=0.5 zero=7, but b.x takes i8[1,4] scale=0.25 zero=0"
    link.link(brain(*CHAIN), {"a": parts["a"], "b": quantised("b", 0.5, 7)})


@pytest.mark.parametrize("dtype", [I8, U8])
def test_adapt_requantises(dtype: DType) -> None:
    """Real values survive the change of scale (to the coarser step)."""
    parts = {"a": quantised("a", 0.5, 7), "b": quantised("b", 0.25, 40, dtype)}
    linked = link.link(brain(*CHAIN, adapt=True), parts)
    spec.verify(linked)
    x = np.array([[7, 9, 3, 17]], np.int8)  # 0, 1, -2, 5
    y = interp.outputs(linked, "step", {"mic": x})["pwm"]
    assert np.array_equal((y.astype(int) - 40) * 0.25, [[0, 4, -8, 20]])


def test_adapt_between_reals_and_integers() -> None:
    """A float module before and behind an integer one, without and with another shape."""
    cases = [("a", quantised("a", 0.5, 7), scaled("b")), ("b", scaled("a"), quantised("b", 0.5, 7))]
    for _, first, second in cases:
        linked = link.link(brain(*CHAIN, adapt=True), {"a": first, "b": second})
        spec.verify(linked)
        inputs = interp.random_inputs(linked, "step")
        between = interp.outputs(first, "step", {"x": inputs["mic"]})["y"]
        real = interp.to_real(between, carried(first, "y"))
        given = interp.from_real(real, carried(second, "x"))
        expected = interp.outputs(second, "step", {"x": given})["y"]
        assert np.array_equal(interp.outputs(linked, "step", inputs)["pwm"], expected)


def test_conversions() -> None:
    """Which ops a pair of types needs; None where no words can make them agree."""

    def ops(a: str, b: str) -> list[str] | None:
        steps = conversion(port_type(a), port_type(b))
        return None if steps is None else [op for op, _, _ in steps]

    assert ops("f32[1,4]", "f32[2,2]") == ["reshape"]
    assert ops("f32[4]", "f32[5]") is None
    assert ops("f32[1,4]", "i8[4] scale=0.5") == ["reshape", "to_int"]
    assert ops("i8[4] scale=0.5", "f64[4]") == ["from_int", "cast"]
    assert ops("i8[4]", "i32[4]") == ops("i32[4]", "f32[4]") == ["cast"]
    assert ops("i8[4] scale=0.5", "u8[4] scale=0.5 zero=128") == ["from_int", "clamp", "to_int"]
    assert same(port_type("i8[4] scale=0.1"), port_type(f"i8[4] scale={np.float32(0.1):.9f}"))
    assert not same(TensorType(I8, (4,), Quant((1.0,) * 4, (0,) * 4, 0)), port_type("i8[4] scale=1"))


def test_one_module_keeps_its_own_ports() -> None:
    """Bare: the graph as it is, renamed. With a manifest: prefixed, ports in the manifest's order."""
    alone = summed("m")
    module = Module("m", "onnx", Path("m.onnx"))
    table = MappingProxyType({"m": module})
    bare = link.link(Brain("net", Path(), table, bare=True), {"m": alone})
    assert bare.values is alone.values and bare.name == "net"
    through = link.link(Brain("net", Path(), table), {"m": alone})
    spec.verify(through)
    assert through.entries[0].inputs == ("x", "h") and through.entries[0].outputs == ("y",)
    assert [n.name for n in through.nodes()] == ["m/n"]


def test_a_handed_through_input_is_refused() -> None:
    """A model that only returns its input has nothing to write the output with."""
    t = TensorType(F32, (1, 4))
    empty = Graph("a", {"x": Value("x", t, Role.INPUT)}, (Entry("step", ("x",), ("x",), ()),))
    with pytest.raises(UnsupportedError, match="hands an input"):
        link.link(brain("a.x < in.mic", "out.y < a.x", modules="a"), {"a": empty})


def test_assign_writes_in_place_and_returns_nothing() -> None:
    state, x = np.zeros((1, 4), np.float32), row()
    assert assign.assign.run([state, x], {}) == () and np.array_equal(state, x)
    with pytest.raises(Exception, match="the new value i32"):
        assign.assign.infer([TensorType(F32, (4,)), TensorType(I32, (4,))], {})


def write_model(path: Path, rows: int | str, factor: float) -> None:
    """y = x * factor over f32[rows,n], n a symbolic axis."""
    shape = [rows, "n"]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y")]
    scale = helper.make_tensor("f", TensorProto.FLOAT, [], [factor])
    node = helper.make_node("Mul", ["x", "f"], ["y"], name="scale")
    made = helper.make_graph([node], "g", [ports[0]], [ports[1]], [scale])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_models_are_loaded_as_target_and_shapes_say(tmp_path: Path) -> None:
    """Variant by target; a symbolic axis fixed by the manifest's port, or by --shape."""
    write_model(tmp_path / "big.onnx", "batch", 3.0)
    write_model(tmp_path / "small.onnx", 1, 2.0)
    text = '[modules.m]\nfile = "big.onnx"\n{}[modules.m.variants.small]\nfile = "small.onnx"\n'
    target = '[target.uno]\nuse = { m = "small" }\n'
    (tmp_path / "brain.toml").write_text(text.format('in = { x = "f32[1,6]" }\n') + target)
    described = manifest.load(tmp_path)
    x = np.ones((1, 6), np.float32)
    assert (interp.outputs(link.load_brain(described), "step", {"x": x})["y"] == 3).all()
    assert (interp.outputs(link.load_brain(described, "uno"), "step", {"x": x})["y"] == 2).all()
    (tmp_path / "brain.toml").write_text(text.format("") + target)
    for shapes in ({"n": 6}, {"m.n": 6}):
        linked = link.load_brain(manifest.load(tmp_path), None, shapes)
        assert linked.type("x") == TensorType(F32, (1, 6))
