"""The interpreter: real meaning on quantised edges, raw numbers where ops only move them, state, errors."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder

from brainc import interp
from brainc.dtypes import I8, U8
from brainc.errors import ModelError
from brainc.ir import Quant, Role, Stage, TensorType, Value

Q = Quant.tensor(0.5, -10)
I8_ALL = np.arange(-128, 128, dtype=np.int8)


def test_a_real_op_on_quantised_edges_dequantises_runs_and_quantises() -> None:
    b = Builder()
    x = b.input("x", (256,), I8, Q)
    y = b.add("clamp", x, quant=Quant.tensor(1.0, 3), lo=0.0)
    out = interp.outputs(b.graph(y, stage=Stage.QUANTIZED), None, {"x": I8_ALL})[y]
    want = np.clip(np.rint(np.maximum((I8_ALL.astype(float) + 10) * 0.5, 0)) + 3, -128, 127)
    assert out.dtype == np.int8
    np.testing.assert_array_equal(out, want)  # rint: ties to even, as the contract says


def test_quantised_weights_and_bias_stand_for_reals() -> None:
    b = Builder()
    x = b.input("x", (1, 2), I8, Q)
    w = b.const(np.array([[10, -20], [30, 40]], np.int8), Quant((0.1, 0.2), (0, 0), 0))
    bias = b.const(np.array([100, -50], np.int32), Quant((0.05, 0.1), (0, 0), 0))
    y = b.add("dense", x, w, bias, quant=Quant.tensor(0.25, 0))
    out = interp.outputs(b.graph(y), None, {"x": np.array([[4, -12]], np.int8)})[y]
    real = np.array([7 * 1 + -1 * -2 + 5, 7 * 6 + -1 * 8 - 5])
    np.testing.assert_array_equal(out[0], real / 0.25)


@pytest.mark.parametrize("op, given", [("reshape", {"shape": (16, 16)}), ("pad", {"value": -10.0})])
def test_moves_on_one_quant_take_the_numbers_as_they_lie(op: str, given: dict[str, float]) -> None:
    b = Builder()
    x = b.input("x", (256,), I8, Q)
    extra = {"before": (2,), "after": (1,)} if op == "pad" else {}
    y = b.add(op, x, quant=Q, **given, **extra)  # type: ignore[arg-type]
    out = interp.outputs(b.graph(y), None, {"x": I8_ALL})[y]
    want = I8_ALL if op == "reshape" else np.pad(I8_ALL, (2, 1), constant_values=-10)
    np.testing.assert_array_equal(out.reshape(-1), want)


def test_a_move_between_two_quants_requantises() -> None:
    b = Builder()
    x = b.input("x", (4,), I8, Q)
    y = b.add("reshape", x, quant=Quant.tensor(1.0, 0), shape=(2, 2))
    out = interp.outputs(b.graph(y), None, {"x": np.array([-10, -8, 0, 90], np.int8)})[y]
    np.testing.assert_array_equal(out, [[0, 1], [5, 50]])


def test_doors_work_on_the_numbers_themselves() -> None:
    b = Builder()
    x = b.input("x", (3,), U8, Quant.tensor(0.5, 128))
    real = b.add("from_int", x, scale=0.5, zero=128)
    y = b.add("to_int", real, scale=0.5, zero=128, dtype="u8", quant=Quant.tensor(0.5, 128))
    b.values[y] = Value(y, TensorType(U8, (3,), Quant.tensor(0.5, 128)))
    data = np.array([0, 128, 255], np.uint8)
    values = interp.run(b.graph(y), "step", {"x": data})
    np.testing.assert_array_equal(values[real], [-64.0, 0.0, 63.5])
    np.testing.assert_array_equal(values[y], data)


def test_an_operand_left_out_at_the_end_is_none() -> None:
    b = Builder()
    y = b.add("dense", b.input("x", (1, 3)), b.const(np.eye(3, dtype=np.float32)))
    data = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_array_equal(interp.outputs(b.graph(y), None, {"x": data})[y], data)


def test_states_start_as_they_are_told_or_at_real_zero() -> None:
    b = Builder()
    graph = b.graph(b.add("clamp", b.input("x", (2,)), lo=0.0))
    given = b.const(np.array([1, 2], np.int8))
    values = dict(graph.values)
    values["told"] = Value("told", TensorType(I8, (2,)), Role.STATE, b.values[given].const)
    values["zero"] = Value("zero", TensorType(I8, (2,), Q), Role.STATE)
    state = interp.fresh_state(graph.replaced(values=values))
    np.testing.assert_array_equal(state["told"], [1, 2])
    np.testing.assert_array_equal(state["zero"], [-10, -10])
    state["told"][0] = 7
    assert b.values[given].array()[0] == 1


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "no input for port 'x'"),
        ({"x": np.zeros(3, np.float32)}, r"takes f32\[2\], not float32\[3\]"),
        ({"x": np.zeros(2)}, "not float64"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, np.ndarray], message: str) -> None:  # type: ignore[type-arg]
    b = Builder()
    graph = b.graph(b.add("clamp", b.input("x", (2,)), lo=0.0))
    with pytest.raises(ModelError, match=message):
        interp.run(graph, None, inputs)
    with pytest.raises(ModelError, match="no entry 'decode'"):
        interp.run(graph, "decode", inputs)
