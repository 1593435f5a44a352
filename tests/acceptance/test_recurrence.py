"""A gated cell, written out step by step: its state keeps one scale, in every way of writing it, over many calls.

The truth is the same recurrence written in numpy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from making import Array, compiled, noise, numbers, proven
from onnx import TensorProto, helper, numpy_helper

from brainc import check, passes
from brainc.compiler import Request, prepare
from brainc.ir import Stage
from brainc.passes import quantize

V, E, H = 11, 5, 7
TABLE = np.clip(np.rint(40 * numbers(V, E, seed=1)), -128, 127).astype(np.int8)
WR, WZ, WN = (0.5 * numbers(E + H, H, seed=s) for s in (2, 3, 4))
OUT = 0.7 * numbers(H, V, seed=5)

# h' of z, n and h, as exporters and people write it
BLENDS = {
    "two parts": "one - z = rest; rest * n = new; z * h = old; new + old = next",
    "turned": "one - z = rest; h * z = old; n * rest = new; old + new = next",
    "a step": "h - n = gap; z * gap = way; n + way = next",
    "a step back": "n - h = gap; gap * z = way; n - way = next",
    "taken off": "z * n = some; n - some = less; z * h = old; old + less = next",
}
OPS = {"+": "Add", "-": "Sub", "*": "Mul"}


def written(text: str) -> list[onnx.NodeProto]:
    """Nodes of `a + b = c; …`"""
    lines = (line.split() for line in text.split(";"))
    return [helper.make_node(OPS[op], [a, b], [c]) for a, op, b, _, c in lines]


def step_net(path: Path, blend: str = BLENDS["two parts"], index: int = TensorProto.INT64) -> Path:
    """Embedding of int8, gates, the next state, and logits: one step of a character model."""
    make = helper.make_node
    nodes = [
        make("DequantizeLinear", ["table", "step"], ["rows"]),
        make("Gather", ["rows", "token"], ["e"]),
        make("Concat", ["e", "h"], ["eh"], axis=1),
        *(make("MatMul", ["eh", w], [f"{w}x"]) for w in ("WR", "WZ")),
        make("Sigmoid", ["WRx"], ["r"]),
        make("Sigmoid", ["WZx"], ["z"]),
        make("Mul", ["r", "h"], ["rh"]),
        make("Concat", ["e", "rh"], ["erh"], axis=1),
        make("MatMul", ["erh", "WN"], ["WNx"]),
        make("Tanh", ["WNx"], ["n"]),
        *written(blend),
        make("MatMul", ["next", "OUT"], ["logits"]),
    ]
    constants = {"table": TABLE, "step": np.float32(1 / 128), "WR": WR, "WZ": WZ, "WN": WN, "OUT": OUT}
    constants["one"] = np.float32(1)
    graph = helper.make_graph(
        nodes,
        "step",
        [
            helper.make_tensor_value_info("token", index, [1]),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, H]),
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("next", H), ("logits", V))],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def brain(folder: Path, blend: str = BLENDS["two parts"], index: int = TensorProto.INT32) -> Path:
    """The step as a brain that keeps its state."""
    step_net(folder / "net.onnx", blend, index)
    (folder / "brain.toml").write_text(
        '[brain]\nname = "cell"\n[modules.net]\nkind = "onnx"\nfile = "net.onnx"\n'
        '[wires]\n"net.token" = "in.token"\n"net.h" = "net.next"\n"out.logits" = "net.logits"\n'
    )
    return folder


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def truth(tokens: Array) -> tuple[Array, Array]:
    """(logits, states) [T, ...] of the recurrence."""
    h, logits, states = np.zeros((1, H)), [], []
    for token in tokens.reshape(-1):
        e = TABLE[token : token + 1] / 128.0
        r, z = (sigmoid(np.concatenate([e, h], 1) @ w) for w in (WR, WZ))
        n = np.tanh(np.concatenate([e, r * h], 1) @ WN)
        h = n + z * (h - n)
        logits.append(h @ OUT)
        states.append(h)
    return np.stack(logits), np.stack(states)


def tokens(count: int, seed: int = 0, dtype: type = np.int32) -> Array:
    return np.random.default_rng(seed).integers(0, V, (count, 1)).astype(dtype)


@pytest.mark.parametrize("blend", BLENDS.values(), ids=BLENDS)
def test_each_spelling_is_one_lerp_on_the_scale_of_the_state(tmp_path: Path, blend: str) -> None:
    """The embedding keeps its integers; h, n and next all have tanh's scale of 1/128."""
    np.savez(tmp_path / "x.npz", token=tokens(60))
    program = compiled(brain(tmp_path, blend), quantize="int8", calibrate=str(tmp_path / "x.npz"))
    graph = program.graph
    (mix,) = [n for n in graph.nodes() if n.op == "qlerp"]
    (pick,) = [n for n in graph.nodes() if n.op == "gather"]
    for name in (*mix.inputs[:2], *mix.outputs, *pick.outputs, "net/h"):
        quant = graph.type(name).quant
        assert quant is not None and (quant.scale[0], quant.zero[0]) == (1 / 128, 0), name
    assert np.array_equal(graph.array(pick.inputs[0]), TABLE)
    got = proven(program, {"token": tokens(20, 1)})["logits"]
    assert noise(truth(tokens(20, 1))[0], got) < 3e-3


@pytest.mark.parametrize("index", [TensorProto.INT64, TensorProto.INT32])
def test_floats_are_those_of_the_recurrence(tmp_path: Path, index: int) -> None:
    """Index ports keep the model's type."""
    dtype = np.int64 if index == TensorProto.INT64 else np.int32
    program = compiled(brain(tmp_path, index=index), quantize="none")
    assert program.graph.type("token").dtype.numpy == dtype
    got = proven(program, {"token": tokens(20, 1, dtype)})["logits"]
    assert noise(truth(tokens(20, 1))[0], got) < 1e-11


def test_the_state_does_not_drift(tmp_path: Path) -> None:
    """After 1,000 calls the int8 state is as near to the float one as after 100."""
    np.savez(tmp_path / "x.npz", token=tokens(100))
    program = compiled(brain(tmp_path), quantize="int8", calibrate=str(tmp_path / "x.npz"))
    want = truth(tokens(1000, 3))[0]
    got = proven(program, {"token": tokens(1000, 3)})["logits"]
    early, late = noise(want[:100], got[:100]), noise(want[900:], got[900:])
    assert late < 3e-3 and late < 2 * early


def test_biases_are_corrected_with_the_states_of_the_float_cell(tmp_path: Path) -> None:
    """Mean shifts of the layers are taken back, and the answers are no worse for it."""
    np.savez(tmp_path / "x.npz", token=tokens(200))
    job = prepare(Request(brain(tmp_path), quantize="int8", calibrate=str(tmp_path / "x.npz")), "c99")
    canonical = passes.run(job.graph, job.context, until=Stage.CANONICAL)
    samples = quantize.needed_samples(canonical, job.context)
    plain = quantize.with_types(canonical, quantize.choose(canonical, quantize.shared(canonical), samples, "mse"))
    (entry,) = canonical.entries
    mended = quantize.corrected(canonical, plain, entry, samples)
    moved = [n for n in plain.values if plain.is_const(n) and not np.array_equal(plain.array(n), mended.array(n))]
    assert len(moved) >= 3
    vectors = {"token": tokens(300, 4)}
    want = truth(vectors["token"])[0]
    before, after = (
        noise(want, np.stack([row["logits"] for row in check.reference(g, vectors)])) for g in (plain, mended)
    )
    assert after < 1.05 * before
