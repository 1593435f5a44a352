"""int16 activations with int8 weights against TFLite Micro's reference kernels: not a byte may differ.

Every op by itself, in small files made here, with random shapes and scales; sums of 64 bits and of 32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_tflite import compiled_is_the_same, fused, int8s, ints, load, pads, picture, same_as_theirs, scale, written
from tflite_files import N, T, broken

from brainc.compiler import Request, compile_job, prepare
from brainc.errors import UnsupportedError, UserError

Rng = np.random.Generator
Parts = tuple[list[T], list[N]]
UNIT = 1 / 32768


def act(rng: Rng, name: str, shape: tuple[int, ...], **given: Any) -> T:
    """An int16 activation of some scale; its zero point is 0."""
    return T(name, shape, "INT16", given.pop("scale", scale(rng, 1e-5, 1e-3)), 0, **given)


def layer(rng: Rng, x: T, filters: int, w: tuple[int, ...], axis: int, bias: str) -> list[T]:
    """x, weights (per channel or not), bias of 64 or 32 bits."""
    scales = [scale(rng, 0.002, 0.02) for _ in range(filters if rng.integers(0, 2) else 1)]
    ws = T("w", w, "INT8", scales, 0, axis, int8s(rng, *w, lo=-127))
    numbers = rng.integers(-(1 << 26), 1 << 26, filters)
    return [x, ws, T("b", (filters,), bias, [x.scale * s for s in scales], 0, 0, numbers)]  # type: ignore[operator]


def conv(kind: str, bias: str = "INT64") -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape, depthwise = picture(rng), kind == "DEPTHWISE_CONV_2D"
        (_, h, w, c), k, s = shape, int(rng.integers(1, 4)), int(rng.integers(1, 3))
        valid, _ = pads(rng, min(h, w), k, s)
        size = [-(-(n - k + 1) // s) if valid else -(-n // s) for n in (h, w)]
        filters = c * int(rng.integers(1, 3)) if depthwise else int(rng.integers(1, 9))
        at = (1, k, k, filters) if depthwise else (filters, k, k, c)
        parts = layer(rng, act(rng, "x", shape), filters, at, 3 if depthwise else 0, bias)
        y = act(rng, "y", (shape[0], *size, filters), scale=scale(rng, 3e-4, 3e-3))
        options = {"Padding": valid, "StrideH": s, "StrideW": s, "FusedActivationFunction": fused(rng)}
        options |= {"DepthMultiplier": filters // c} if depthwise else {}
        name = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        without = bias == "INT64" and not rng.integers(0, 4)
        return [*parts, y], [N(kind, ["x", "w"] if without else ["x", "w", "b"], ["y"], name, options)]

    return make


def dense(bias: str, depth: int = 0) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        m, k, n = (int(v) for v in rng.integers(1, 12, 3))
        k = depth or k
        parts = layer(rng, act(rng, "x", (m, k)), n, (n, k), 0, bias)
        options = {"FusedActivationFunction": fused(rng)}
        y = act(rng, "y", (m, n), scale=scale(rng, 3e-4, 3e-3))
        return [*parts, y], [N("FULLY_CONNECTED", ["x", "w", "b"], ["y"], "FullyConnectedOptions", options)]

    return make


def transpose_conv(rng: Rng) -> Parts:
    shape, k, s, valid = picture(rng), int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(0, 2))
    size = [(n - 1) * s + max(k, s) if valid else n * s for n in shape[1:3]]
    parts = layer(rng, act(rng, "x", shape), 3, (3, k, k, shape[3]), 0, "INT64")
    y = act(rng, "y", (shape[0], *size, 3), scale=scale(rng, 3e-4, 3e-3))
    options = {"Padding": valid, "StrideH": s, "StrideW": s}
    node = N("TRANSPOSE_CONV", ["size", "w", "x", "b"], ["y"], "TransposeConvOptions", options)
    return [*parts, ints("size", y.shape), y], [node]


def binary(op: str, lo: float = 1e-5, hi: float = 1e-3) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape = picture(rng)
        small = [shape, shape, (shape[-1],), (1, 1, 1, shape[-1]), (1,), (1, shape[1], 1, shape[-1])]
        other = small[int(rng.integers(0, len(small)))]
        data = rng.integers(-32768, 32768, other) if rng.integers(0, 2) and other != shape else None
        y = act(rng, "y", shape, scale=scale(rng, lo, hi))
        options = {"FusedActivationFunction": fused(rng)}
        names = ["a", "b"] if rng.integers(0, 3) else ["b", "a"]
        parts = [act(rng, "a", shape), act(rng, "b", other, data=data), y]
        return parts, [N(op, names, ["y"], f"{op.title()}Options", options)]

    return make


def pool(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape, (k, s), valid = picture(rng), (int(v) for v in rng.integers(1, 4, 2)), int(rng.integers(0, 2))
        size = [-(-(n - k + 1) // s) if valid else -(-n // s) for n in shape[1:3]]
        x, options = act(rng, "x", shape), {"FilterHeight": k, "FilterWidth": k, "StrideH": s, "StrideW": s}
        options |= {"Padding": valid, "FusedActivationFunction": fused(rng) if op.startswith("A") else 0}
        y = T("y", (shape[0], *size, shape[3]), "INT16", x.scale, 0)
        return [x, y], [N(op, ["x"], ["y"], "Pool2DOptions", options)]

    return make


def reduction(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape = picture(rng)
        choices = [(1, 2), (1,), (3,), (1, 3), (-1,), (2, 1)]
        axes = choices[int(rng.integers(0, len(choices)))]
        left = tuple(1 if i in axes or i - 4 in axes else n for i, n in enumerate(shape))
        parts = [act(rng, "x", shape), ints("axes", axes), act(rng, "y", left)]
        return parts, [N(op, ["x", "axes"], ["y"], "ReducerOptions", {"KeepDims": True})]

    return make


def curve(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        lo = [2.0**-12, 2.0**-11, 2.0**-13, scale(rng, 1e-5, 1e-3), scale(rng, 1e-6, 2.0)]
        x = act(rng, "x", (3, 4001), scale=float(np.float32(lo[int(rng.integers(0, 5))])))
        return [x, T("y", (3, 4001), "INT16", UNIT, 0)], [N(op, ["x"], ["y"])]

    return make


def softmax(rng: Rng) -> Parts:
    shape = (int(rng.integers(1, 4)), int(rng.choice([1, 2, 12, 300])))
    x = act(rng, "x", shape, scale=scale(rng, 1e-5, 1e-3))
    options = {"Beta": float(rng.choice([1.0, 0.3, 2.5]))}
    return [x, T("y", shape, "INT16", UNIT, 0)], [N("SOFTMAX", ["x"], ["y"], "SoftmaxOptions", options)]


def concat(rng: Rng) -> Parts:
    shape = picture(rng)
    parts = [act(rng, name, shape, scale=0.001) for name in "ab"]
    y = act(rng, "y", (*shape[:3], 2 * shape[3]), scale=0.001)
    return [*parts, y], [N("CONCATENATION", ["a", "b"], ["y"], "ConcatenationOptions", {"Axis": 3})]


def moved(rng: Rng) -> Parts:
    """A border, a slice, an order of axes, another shape."""
    h, w, c = picture(rng)[1:]
    sides = np.array([[0, 0], [1, 0], [0, 2], [0, 0]])
    shapes = {"p": (1, h + 1, w + 2, c), "s": (1, h, w, c), "t": (1, c, h, w), "y": (1, c * h * w)}
    parts = [act(rng, name, shape, scale=0.001) for name, shape in {"x": (1, h, w, c), **shapes}.items()]
    given = {"sides": sides, "begin": [0, 0, 1, 0], "size": [1, h, w, c], "perm": [0, 3, 1, 2]}
    nodes = [N("PAD", ["x", "sides"], ["p"], "PadOptions"), N("SLICE", ["p", "begin", "size"], ["s"])]
    nodes += [N("TRANSPOSE", ["s", "perm"], ["t"]), N("RESHAPE", ["t"], ["y"])]
    return [*parts, *(ints(name, numbers) for name, numbers in given.items())], nodes


def door(rng: Rng) -> Parts:
    """Reals in, two layers, reals out."""
    q, h, r = act(rng, "q", (1, 9), scale=0.001), act(rng, "h", (1, 7), scale=0.003), act(rng, "r", (1, 5), scale=0.01)
    parts = [T("x", (1, 9), "FLOAT32"), q, *layer(rng, q, 7, (7, 9), 0, "INT64")[1:], h]
    twin = [T("w2", (5, 7), "INT8", 0.01, 0, 0, int8s(rng, 5, 7))]
    twin.append(T("b2", (5,), "INT64", 0.00003, 0, 0, rng.integers(-1000, 1000, 5)))
    nodes = [N("QUANTIZE", ["x"], ["q"]), N("FULLY_CONNECTED", ["q", "w", "b"], ["h"], "FullyConnectedOptions")]
    nodes += [N("FULLY_CONNECTED", ["h", "w2", "b2"], ["r"], "FullyConnectedOptions")]
    return [*parts, *twin, r, T("y", (1, 5), "FLOAT32")], [*nodes, N("DEQUANTIZE", ["r"], ["y"])]


def leaky_relu(rng: Rng) -> Parts:
    x, y = act(rng, "x", (3, 4001)), act(rng, "y", (3, 4001))
    options = {"Alpha": float(rng.uniform(-0.5, 1))}
    return [x, y], [N("LEAKY_RELU", ["x"], ["y"], "LeakyReluOptions", options)]


def matmul(rng: Rng) -> Parts:
    b, m, k, n = (int(v) for v in rng.integers(1, 6, 4))
    adj = [bool(v) for v in rng.integers(0, 2, 2)]
    shapes = ((b, k, m) if adj[0] else (b, m, k)), ((b, n, k) if adj[1] else (b, k, n))
    parts = [act(rng, name, shape) for name, shape in zip("ab", shapes, strict=True)]
    node = N("BATCH_MATMUL", ["a", "b"], ["y"], "BatchMatMulOptions", {"AdjX": adj[0], "AdjY": adj[1]})
    return [*parts, act(rng, "y", (b, m, n))], [node]


def rescaled(rng: Rng) -> Parts:
    """int8 to int16, to another scale, back to int8."""
    shape, zeros = (3, 400), [int(v) for v in rng.integers(-128, 128, 2)]
    x, y = (T(name, shape, "INT8", scale(rng), zero) for name, zero in zip("xy", zeros, strict=True))
    parts = [x, act(rng, "a", shape), act(rng, "b", shape), y]
    return parts, [N("QUANTIZE", ["x"], ["a"]), N("QUANTIZE", ["a"], ["b"]), N("QUANTIZE", ["b"], ["y"])]


OPS: dict[str, Callable[[Rng], Parts]] = {
    "conv": conv("CONV_2D"), "conv_narrow": conv("CONV_2D", "INT32"), "depthwise": conv("DEPTHWISE_CONV_2D"),
    "dense": dense("INT64"), "dense_narrow": dense("INT32"), "dense_deep": dense("INT64", 2000),
    "transpose_conv": transpose_conv, "softmax": softmax, "concat": concat, "leaky_relu": leaky_relu,
    "matmul": matmul, "rescaled": rescaled, "moved": moved, "door": door,
    "mul": binary("MUL", 1e-6, 1e-4), **{op.lower(): binary(op) for op in ("ADD", "SUB")},
    **{op.lower(): pool(op) for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},
    **{op.lower(): reduction(op) for op in ("MEAN", "SUM")},
    **{op.lower(): curve(op) for op in ("LOGISTIC", "TANH")},
}  # fmt: skip
SEEDS = [*range(4), *(pytest.param(s, marks=pytest.mark.slow) for s in range(4, 150))]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_single_ops(op: str, seed: int, tmp_path: Path) -> None:
    same_as_theirs(written(OPS[op](np.random.default_rng([seed, *op.encode()])), tmp_path / "one.tflite"), 2)


@pytest.mark.parametrize("op", OPS)
def test_single_ops_compiled(op: str, tmp_path: Path) -> None:
    compiled_is_the_same(written(OPS[op](np.random.default_rng([0, *op.encode()])), tmp_path / "one.tflite"), 2)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_broken_ops_are_the_users_fault(op: str, count: int, tmp_path: Path) -> None:
    """Whatever stands in a file: a legal graph, or an error of the user's kind."""
    file = written(OPS[op](np.random.default_rng([1, *op.encode()])), tmp_path / "one.tflite")
    for data in broken(file.read_bytes(), count):
        file.write_bytes(data)
        with contextlib.suppress(UserError):
            load(file)


def test_channels_that_nobody_reads_go(tmp_path: Path) -> None:
    """A channel of int16 whose weights in the next layer are 0 is not made, and no byte changes."""
    rng = np.random.default_rng(3)
    tensors, nodes = door(rng)
    (index,) = (i for i, t in enumerate(tensors) if t.name == "w2")
    weights = np.array(tensors[index].data)
    weights[:, [1, 4]] = 0
    tensors[index] = T("w2", (5, 7), "INT8", 0.01, 0, 0, weights)
    file = written((tensors, nodes), tmp_path / "dead.tflite")
    program = compile_job(prepare(Request(file), "c99"))
    first = next(n for n in program.graph.nodes() if n.op == "qdense")
    assert program.graph.type(first.inputs[1]).shape == (5, 9)
    compiled_is_the_same(file)


def test_sums_that_need_no_64_bits_have_32(tmp_path: Path) -> None:
    """The weights of the smaller layer prove it."""
    for depth, wide in ((8, False), (2000, True)):
        file = written(dense("INT64", depth)(np.random.default_rng(1)), tmp_path / "one.tflite")
        program = compile_job(prepare(Request(file), "c99"))
        (node,) = (n for n in program.graph.nodes() if n.op == "qdense")
        assert program.choices[node.name].env["wide"] is wide


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"b": T("b", (2,), "INT64", 1e-9, 0, 0, [1 << 40, 0])}, "its bias does not fit into 32 bits"),
        ({"y": T("y", (1, 2), "INT16", 1e-9, 0)}, "more than 128 times as large"),
        ({"w": T("w", (2, 4), "UINT8", 0.01, 3, 0, [[1] * 4] * 2)}, "its weights are UINT8"),
        ({"x": T("x", (1, 4), "UINT8", 0.01, 3)}, "it works on UINT8; brainc knows it for"),
    ],
)
def test_what_is_not_there_is_refused_by_name(change: dict[str, T], told: str, tmp_path: Path) -> None:
    tensors = {
        "x": T("x", (1, 4), "INT16", 0.001, 0),
        "w": T("w", (2, 4), "INT8", 0.01, 0, 0, [[1, 2, 3, 4]] * 2),
        "b": T("b", (2,), "INT64", 1e-5, 0, 0, [1, 2]),
        "y": T("y", (1, 2), "INT16", 0.001, 0),
    }
    nodes = [N("FULLY_CONNECTED", ["x", "w", "b"], ["y"], "FullyConnectedOptions")]
    with pytest.raises(UnsupportedError) as caught:
        load(written((list((tensors | change).values()), nodes), tmp_path / "refused.tflite"))
    assert told in caught.value.what


def test_sums_of_32_bits_that_may_not_fit_are_refused(tmp_path: Path) -> None:
    """An int32 bias asks for sums of 32 bits; those of this layer may have more."""
    file = written(dense("INT32", 2000)(np.random.default_rng(1)), tmp_path / "wide.tflite")
    with pytest.raises(UnsupportedError, match=r"adds up to 3[3-9] bits, and brainc's accumulators have 32"):
        compile_job(prepare(Request(file), "c99"))
