"""A wire from an output back to an input is a memory of one call: over several calls, in float and int8.

The truth is the same recurrence written in numpy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making import Array, compiled, noise, numbers, proven, save
from onnx import helper

STEPS = 12
W, B, U, V = (0.4 * numbers(*s, seed=i) for i, s in enumerate(((4, 6), (6,), (6, 6), (6, 3))))


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    """Two modules: a cell h' = tanh(x W + b + h U) and a head y = h' V."""
    gemm = helper.make_node("Gemm", ["x", "W", "B"], ["a"])
    nodes = [gemm, helper.make_node("MatMul", ["h", "U"], ["u"]), helper.make_node("Add", ["a", "u"], ["s"])]
    nodes.append(helper.make_node("Tanh", ["s"], ["next"]))
    ports = [("x", [1, 4]), ("h", [1, 6])], [("next", [1, 6])]
    save(tmp_path / "cell.onnx", nodes, {"W": W, "B": B, "U": U}, *ports)
    head = [helper.make_node("MatMul", ["h", "V"], ["y"])]
    save(tmp_path / "head.onnx", head, {"V": V}, [("h", [1, 6])], [("y", [1, 3])])
    (tmp_path / "brain.toml").write_text(
        '[brain]\nname = "rnn"\n'
        '[modules.cell]\nkind = "onnx"\nfile = "cell.onnx"\n'
        '[modules.head]\nkind = "onnx"\nfile = "head.onnx"\n'
        '[wires]\n"cell.x" = "in.x"\n"cell.h" = "cell.next"\n"head.h" = "cell.next"\n"out.y" = "head.y"\n'
    )
    return tmp_path


@pytest.mark.parametrize(("quantize", "allowed"), [("none", 1e-9), ("int8", 1e-3)])
def test_recurrence(recurrent: Path, quantize: str, allowed: float) -> None:
    """Quantised, the state is int8, and its range is measured over the samples as one sequence."""
    x = 2 * numbers(STEPS, 1, 4, seed=9)
    np.savez(recurrent / "x.npz", x=x)
    program = compiled(recurrent, quantize=quantize, calibrate=str(recurrent / "x.npz"))
    assert program.graph.type("cell/h").dtype.name == ("i8" if quantize == "int8" else "f32")
    h, want = np.zeros((1, 6), np.float32), []
    for sample in x:
        h = np.tanh(sample @ W + B + h @ U)
        want.append(h @ V)
    assert noise(np.stack(want), proven(program, {"x": x})["y"]) < allowed


def sliding(folder: Path) -> Path:
    """The last four columns of a stream; ports show the memory as it was before the call, in two shapes."""
    one, many = np.array([1], np.int64), np.array([9], np.int64)
    nodes = [
        helper.make_node("Concat", ["old", "x"], ["all"], axis=1),
        helper.make_node("Slice", ["all", "one", "many", "one"], ["new"]),
        helper.make_node("MatMul", ["all", "w"], ["y"]),
        helper.make_node("Identity", ["old"], ["before"]),
        helper.make_node("Reshape", ["old", "square"], ["picture"]),
    ]
    constants = {"one": one, "many": many, "w": numbers(5, 2), "square": np.array([2, 2], np.int64)}
    outputs = [("new", [1, 4]), ("y", [1, 2]), ("before", [1, 4]), ("picture", [2, 2])]
    save(folder / "s.onnx", nodes, constants, [("x", [1, 1]), ("old", [1, 4])], outputs)
    wires = {"s.x": "in.x", "s.old": "s.new", **{f"out.{p}": f"s.{p}" for p in ("y", "before", "picture")}}
    lines = "".join(f'"{to}" = "{source}"\n' for to, source in wires.items())
    module = '[brain]\nname = "sliding"\n[modules.s]\nkind = "onnx"\nfile = "s.onnx"\n'
    (folder / "brain.toml").write_text(f"{module}[wires]\n{lines}")
    return folder


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_port_shows_the_state_before_the_call(tmp_path: Path, quantize: str) -> None:
    """Views of a state are copies: the state changes at the end of the call."""
    x: Array = numbers(STEPS, 1, 1, seed=5)
    np.savez(tmp_path / "x.npz", x=x)
    program = compiled(sliding(tmp_path), quantize=quantize, calibrate=str(tmp_path / "x.npz"))
    got = proven(program, {"x": x})
    stream = np.concatenate([np.zeros(4, np.float32), x.reshape(-1)])
    want = np.stack([stream[i : i + 4] for i in range(STEPS)])
    for port in ("before", "picture"):
        assert noise(want, got[port].reshape(STEPS, 4)) < (1e-3 if quantize == "int8" else 1e-12)
