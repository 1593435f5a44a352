"""The TFLite frontend against TFLite Micro's reference kernels: not a byte may differ.

Golden vectors and whole models (with BRAINC_MODELS), and every op by itself in small files made here, with random
shapes, scales and zero points; `-m slow` takes many more of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_files import N, T, broken, model

from brainc import check, frontends, interp, spec
from brainc.compiler import Request, compile_job, prepare
from brainc.errors import UserError
from brainc.ir import Graph

runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
MODELS = Path(os.environ.get("BRAINC_MODELS", ""))
needs_models = pytest.mark.skipif(not os.environ.get("BRAINC_MODELS"), reason="BRAINC_MODELS is not set")
GOLDEN = {"ad": "ad01_int8", "dscnn": "kws_dscnn_int8", "resnet8": "ic_resnet8_int8"}
GOLDEN |= {"vww": "vww_mobilenetv1_025_int8"}
WHOLE = ["ad01_int8_floatio", "sww_dscnn1d_int8", "ic_resnet_large_int8", "extra/aww_v0.1_int8"]
WHOLE += ["extra/ic_resnet_6blk_750k_int8", "extra/ic_resnet_pull167_int8", "extra/vww_14blk_836k_int8"]
WHOLE += ["extra/vww_20blk_791k_int8", "extra/vww_v0.1_person_detection_int8"]
WORDS = ["alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"]
COMPILED = [*(f"mlperf-tiny/{name}" for name in GOLDEN.values()), *(f"pypi/pymicro-wakeword/{name}" for name in WORDS)]
COMPILED += [pytest.param(f"mlperf-tiny/{name}", marks=pytest.mark.slow) for name in WHOLE]  # type: ignore[arg-type]
Rng = np.random.Generator
Parts = tuple[list[T], list[N]]


def load(file: Path) -> Graph:
    graph = frontends.load(file, name="model")
    spec.verify(graph)
    return graph


def same_as_theirs(file: Path, steps: int) -> None:
    """Random inputs, step by step: what one step leaves in variables is there in the next."""
    graph, arena = load(file), 10 * file.stat().st_size + (1 << 20)
    theirs = runtime.Interpreter.from_file(str(file), arena_size=arena)
    (entry,), state = graph.entries, interp.fresh_state(graph)
    for seed in range(steps):
        feed = interp.random_inputs(graph, None, seed)
        ours = interp.run(graph, None, feed, state)
        for index, port in enumerate(entry.inputs):
            theirs.set_input(feed[port], index)
        theirs.invoke()
        for index, port in enumerate(entry.outputs):
            np.testing.assert_array_equal(ours[port], theirs.get_output(index))


def compiled_is_the_same(file: Path, count: int = 3) -> None:
    """The passes change no byte, and the C of the brain gives the bytes of the interpreter, under sanitizers."""
    program, imported = compile_job(prepare(Request(file), "c99")), load(file)
    feeds = [interp.random_inputs(program.graph, None, seed) for seed in range(count)]
    states = [interp.fresh_state(graph) for graph in (imported, program.graph)]
    for feed in feeds:
        graphs = zip((imported, program.graph), states, strict=True)
        before, after = (interp.run(graph, None, feed, state) for graph, state in graphs)
        for port in program.graph.entries[0].outputs:
            np.testing.assert_array_equal(after[port], before[port])
    arrays = {port: np.stack([f[port] for f in feeds]) for port in feeds[0]}
    assert check.prove(program, arrays, sanitize=True).first_difference is None


# whole models


@needs_models
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_vectors(name: str) -> None:
    """Outputs, and what goes into the softmax, of 20 inputs each."""
    graph = load(MODELS / "mlperf-tiny" / f"{GOLDEN[name]}.tflite")
    (entry,) = graph.entries
    last = entry.nodes[-1]
    logits = last.inputs[0] if last.op == "qsoftmax" else entry.outputs[0]
    with np.load(MODELS.parent / "golden" / f"{name}.npz") as golden:
        for x, y, y_logits in zip(golden["x"], golden["y"], golden["y_logits"], strict=True):
            values = interp.run(graph, None, {entry.inputs[0]: x.reshape(graph.type(entry.inputs[0]).shape)})
            np.testing.assert_array_equal(values[entry.outputs[0]].reshape(-1), y.reshape(-1))
            np.testing.assert_array_equal(values[logits].reshape(-1), y_logits.reshape(-1))


@needs_models
@pytest.mark.parametrize("name", WHOLE)
def test_whole_models(name: str) -> None:
    same_as_theirs(MODELS / "mlperf-tiny" / f"{name}.tflite", 3)


@needs_models
@pytest.mark.parametrize("name", WORDS)
def test_wake_words_remember(name: str) -> None:
    file = MODELS / "pypi" / "pymicro-wakeword" / f"{name}.tflite"
    same_as_theirs(file, 60)
    assert load(file).entries[0].inputs == ("input_audio",)


@needs_models
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_models(name: str) -> None:
    compiled_is_the_same(MODELS / f"{name}.tflite")


# single ops, made here


def scale(rng: Rng, lo: float = 0.003, hi: float = 0.3) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(lo), np.log(hi)))))


def zero(rng: Rng) -> int:
    return int(rng.choice([-128, 0, 127, rng.integers(-128, 128)]))


def act(rng: Rng, name: str, shape: tuple[int, ...], **given: Any) -> T:
    """An int8 activation of some scale."""
    return T(name, shape, "INT8", given.pop("scale", scale(rng)), given.pop("zero", zero(rng)), **given)


def int8s(rng: Rng, *shape: int, lo: int = -128) -> np.ndarray:
    return rng.integers(lo, 128, shape)


def picture(rng: Rng, channels: int = 0) -> tuple[int, int, int, int]:
    return int(rng.choice([1, 1, 2])), *(int(n) for n in rng.integers(3, 9, 2)), channels or int(rng.integers(1, 7))


def pads(rng: Rng, x: int, k: int, s: int, d: int = 1) -> tuple[int, int]:
    """(0 SAME or 1 VALID, the size of the result)"""
    span = (k - 1) * d + 1
    valid = int(rng.integers(0, 2)) if span <= x else 0
    return valid, -(-(x - span + 1) // s) if valid else -(-x // s)


def fused(rng: Rng) -> int:
    return int(rng.choice([0, 0, 1, 3]))


def layer(rng: Rng, x: T, filters: int, w: tuple[int, ...], axis: int, short: bool = True) -> list[T]:
    """x, weights (per channel or not, of 4 bits or 8), bias."""
    scales = [scale(rng, 0.002, 0.02) for _ in range(filters if rng.integers(0, 2) else 1)]
    weights = ("INT8", int8s(rng, *w, lo=-127))
    if short and not rng.integers(0, 4) and (len(w) > 2 or len(scales) == 1):
        weights, scales = ("INT4", rng.integers(-7, 8, w)), [16 * s for s in scales]
    ws = T("w", w, weights[0], scales, 0, axis, weights[1])
    both = [x.scale * s for s in scales]  # type: ignore[operator]
    bs = T("b", (filters,), "INT32", both, 0, 0, rng.integers(-3000, 3000, filters))
    return [x, ws, bs]


def conv(rng: Rng, depthwise: bool = False) -> Parts:
    shape = picture(rng)
    (_, h, w, c), k, s = shape, rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    d = (1, 1) if max(s) > 1 else tuple(int(v) for v in rng.integers(1, 3, 2))
    valid = 0 if any((ki - 1) * di + 1 > n for ki, di, n in zip(k, d, (h, w), strict=True)) else int(rng.integers(0, 2))
    sizes = []
    for n, ki, si, di in zip((h, w), k, s, d, strict=True):
        sizes.append(-(-(n - (ki - 1) * di) // si) if valid else -(-n // si))
    filters = c * int(rng.integers(1, 4)) if depthwise else int(rng.integers(1, 9))
    at = (1, *k, filters) if depthwise else (filters, *k, c)
    parts = layer(rng, act(rng, "x", shape), filters, tuple(map(int, at)), 3 if depthwise else 0)
    y = act(rng, "y", (shape[0], *map(int, sizes), filters), scale=scale(rng, 0.05, 0.5))
    kind = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    options = {"Padding": valid, "StrideH": int(s[0]), "StrideW": int(s[1]), "FusedActivationFunction": fused(rng)}
    options |= {"DilationHFactor": d[0], "DilationWFactor": d[1]}
    options |= {"DepthMultiplier": filters // c} if depthwise else {}
    names = ["x", "w", "b"] if rng.integers(0, 4) else ["x", "w"]
    return [*parts, y], [N("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", names, ["y"], kind, options)]


def dense(rng: Rng) -> Parts:
    m, k, n = (int(v) for v in rng.integers(1, 12, 3))
    deep = bool(rng.integers(0, 2))
    x = act(rng, "x", (1, m, k) if deep else (m, k))
    y = act(rng, "y", (1, m, n) if deep else (m, n), scale=scale(rng, 0.05, 0.5))
    options = {"FusedActivationFunction": fused(rng), "KeepNumDims": deep}
    parts = layer(rng, x, n, (n, k), 0)
    names = ["x", "w", "b"] if rng.integers(0, 3) else ["x", "w", ""]
    return [*parts, y], [N("FULLY_CONNECTED", names, ["y"], "FullyConnectedOptions", options)]


def binary(op: str, kind: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape = picture(rng)
        small = [shape, shape, (shape[-1],), (1, 1, 1, shape[-1]), (1,), (1, shape[1], 1, shape[-1]), ()]
        other = small[int(rng.integers(0, len(small)))]
        data = int8s(rng, *other) if rng.integers(0, 2) and other != shape else None
        parts = [act(rng, "a", shape), act(rng, "b", other, data=data), act(rng, "y", shape, scale=scale(rng, 0.02))]
        names = ["a", "b"] if rng.integers(0, 3) else ["b", "a"]
        return parts, [N(op, names, ["y"], kind, {"FusedActivationFunction": fused(rng)} if kind else {})]

    return make


def reduction(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape = picture(rng)
        choices = [(1, 2), (1,), (2,), (3,), (1, 3), (-1,), (1, 2, 3), (2, 1)]
        axes, keep = choices[int(rng.integers(0, len(choices)))], bool(rng.integers(0, 2))
        left = [1 if i - 4 in axes or i in axes else n for i, n in enumerate(shape)]
        if not keep:
            left = [n for i, n in enumerate(shape) if i not in axes and i - 4 not in axes]
        x = act(rng, "x", shape)
        y = T("y", tuple(left), "INT8", x.scale, x.zero) if "REDUCE" in op else act(rng, "y", tuple(left))
        parts = [x, T("axes", (len(axes),), "INT32", data=axes), y]
        return parts, [N(op, ["x", "axes"], ["y"], "ReducerOptions", {"KeepDims": keep})]

    return make


def pool(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape = picture(rng)
        k, s = (int(v) for v in rng.integers(1, 4, 2))
        valid = int(rng.integers(0, 2))
        h, w = (-(-(n - k + 1) // s) if valid else -(-n // s) for n in shape[1:3])
        x = act(rng, "x", shape)
        options = {"FilterHeight": k, "FilterWidth": k, "StrideH": s, "StrideW": s, "Padding": valid}
        options["FusedActivationFunction"] = fused(rng)
        return [x, T("y", (shape[0], h, w, shape[3]), "INT8", x.scale, x.zero)], [
            N(op, ["x"], ["y"], "Pool2DOptions", options)
        ]

    return make


def unary(op: str, kind: str = "", **fixed: Any) -> Callable[[Rng], Parts]:
    """All 256 values of x; `y` fixes what the op asks of its result, `options` are drawn by name."""

    def make(rng: Rng) -> Parts:
        options = {key: value(rng) for key, value in fixed.get("options", {}).items()}
        x = act(rng, "x", (1, 256), scale=scale(rng, *fixed.get("x", (0.003, 0.3))))
        y = act(rng, "y", (1, 256))
        if "y" in fixed:
            y = T("y", (1, 256), "INT8", *fixed["y"])
        if fixed.get("same"):
            y = T("y", (1, 256), "INT8", x.scale, x.zero)
        return [x, y], [N(op, ["x"], ["y"], kind, options)]

    return make


def softmax(rng: Rng) -> Parts:
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 40)))
    x = act(rng, "x", shape, scale=scale(rng, 1e-4, 2.0))
    options = {"Beta": float(rng.choice([1.0, 0.3, 2.5]))}
    return [x, T("y", shape, "INT8", 1 / 256, -128)], [N("SOFTMAX", ["x"], ["y"], "SoftmaxOptions", options)]


def rsqrt(rng: Rng) -> Parts:
    """TFLite Micro has no answer for what is below zero."""
    return [act(rng, "x", (1, 256), zero=-128), act(rng, "y", (1, 256))], [N("RSQRT", ["x"], ["y"])]


def l2_norm(rng: Rng) -> Parts:
    shape = (int(rng.integers(1, 4)), int(rng.choice([1, 2, 9, 300])))
    y = T("y", shape, "INT8", 1 / 128, 0)
    return [act(rng, "x", shape), y], [N("L2_NORMALIZATION", ["x"], ["y"], "L2NormOptions")]


def prelu(rng: Rng) -> Parts:
    shape = picture(rng)
    alpha = [(1, 1, shape[3]), (1, 1, 1), shape[1:]][int(rng.integers(0, 3))]
    parts = [act(rng, "x", shape), act(rng, "alpha", alpha, data=int8s(rng, *alpha)), act(rng, "y", shape)]
    return parts, [N("PRELU", ["x", "alpha"], ["y"])]


def larger(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape, one = picture(rng), bool(rng.integers(0, 2))
        x, other = act(rng, "x", shape), (1,) if one else shape
        b = T("b", other, "INT8", x.scale, x.zero, 0, int8s(rng, 1) if one else None)
        y = T("y", shape, "INT8", x.scale, x.zero)
        return [x, b, y], [N(op, ["x", "b"], ["y"], "MaximumMinimumOptions")]

    return make


def transpose_conv(rng: Rng) -> Parts:
    shape, k, s = picture(rng), [int(v) for v in rng.integers(1, 5, 2)], [int(v) for v in rng.integers(1, 4, 2)]
    valid, filters = int(rng.integers(0, 2)), int(rng.integers(1, 6))
    size = [(n - 1) * si + max(ki, si) if valid else n * si for n, ki, si in zip(shape[1:3], k, s, strict=True)]
    size = [n + int(rng.integers(0, si)) * valid for n, si in zip(size, s, strict=True)]
    parts = layer(rng, act(rng, "x", shape), filters, (filters, *k, shape[3]), 0, short=False)
    y = act(rng, "y", (shape[0], *size, filters), scale=scale(rng, 0.05, 0.5))
    options = {"Padding": valid, "StrideH": s[0], "StrideW": s[1], "FusedActivationFunction": fused(rng)}
    node = N("TRANSPOSE_CONV", ["size", "w", "x", "b"], ["y"], "TransposeConvOptions", options)
    return [*parts, ints("size", y.shape), y], [node]


def to_batches(rng: Rng) -> Parts:
    """Without borders: TFLite Micro fills them with what its memory happens to hold."""
    (_, h, w, c), block = picture(rng), [int(v) for v in rng.integers(1, 4, 2)]
    more = (ints("block", block), ints("sides", [[0, 0], [0, 0]]))
    return moved(rng, "SPACE_TO_BATCH_ND", (1, h * block[0], w * block[1], c), (block[0] * block[1], h, w, c), *more)


def from_batches(rng: Rng) -> Parts:
    (_, h, w, c), block = picture(rng), [int(v) for v in rng.integers(1, 4, 2)]
    sides = rng.integers(0, 2, (2, 2))
    size = [n * k - int(side.sum()) for n, k, side in zip((h, w), block, sides, strict=True)]
    more = (ints("block", block), ints("sides", sides))
    return moved(rng, "BATCH_TO_SPACE_ND", (block[0] * block[1], h, w, c), (1, *size, c), *more)


def arg(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape, axis = picture(rng), int(rng.integers(0, 4))
        y = T("y", tuple(n for i, n in enumerate(shape) if i != axis), "INT32")
        node = N(op, ["x", "axis"], ["y"], f"Arg{op[4:].title()}Options", {"OutputType": 2})
        return [act(rng, "x", shape), ints("axis", axis), y], [node]

    return make


def concat(rng: Rng) -> Parts:
    axis, count = int(rng.integers(-1, 4)), int(rng.integers(1, 4))
    first = act(rng, "x0", picture(rng))
    parts, total = [first], 0
    for i in range(count):
        size = list(first.shape)
        size[axis] = int(rng.integers(1, 4)) if i else size[axis]
        parts[i:] = [T(f"x{i}", tuple(size), "INT8", first.scale, first.zero)]
        total += size[axis]
    whole = list(first.shape)
    whole[axis] = total
    y = T("y", tuple(whole), "INT8", first.scale, first.zero)
    node = N("CONCATENATION", [p.name for p in parts], ["y"], "ConcatenationOptions", {"Axis": axis})
    return [*parts, y], [node]


def moved(
    rng: Rng, op: str, shape: tuple[int, ...], to: tuple[int, ...], *more: T, kind: str = "", **options: Any
) -> Parts:
    """An op that keeps the scale; further operands are constants."""
    x = act(rng, "x", shape)
    parts = [x, *more, T("y", to, "INT8", x.scale, x.zero)]
    return parts, [N(op, ["x", *(m.name for m in more)], ["y"], kind, options)]


def ints(name: str, numbers: Any) -> T:
    return T(name, np.shape(numbers), "INT32", data=numbers)


def padded(rng: Rng) -> Parts:
    shape, sides = picture(rng), rng.integers(0, 3, (4, 2))
    return moved(rng, "PAD", shape, tuple(int(n) for n in shape + sides.sum(axis=1)), ints("sides", sides))


def mirrored(rng: Rng) -> Parts:
    shape, sides = picture(rng), np.array([[0, 0], *rng.integers(0, 3, (2, 2)), [0, 0]])
    to, mode = tuple(int(n) for n in shape + sides.sum(axis=1)), int(rng.integers(0, 2))
    return moved(rng, "MIRROR_PAD", shape, to, ints("sides", sides), kind="MirrorPadOptions", Mode=mode)


def transposed(rng: Rng) -> Parts:
    shape, perm = picture(rng), rng.permutation(4)
    return moved(rng, "TRANSPOSE", shape, tuple(shape[p] for p in perm), ints("perm", perm))


def strided(rng: Rng) -> Parts:
    shape = picture(rng)
    steps = [1, *(int(s) for s in rng.choice([1, 2, -1], 3))]
    begin = [int(rng.integers(-n, n)) for n in shape]
    end = [int(rng.integers(-n, n)) for n in shape]
    masks = [int(m) for m in rng.integers(0, 16, 2)]
    cells = []
    for i, n in enumerate(shape):
        first, last = (None if m >> i & 1 else v[i] for v, m in zip((begin, end), masks, strict=True))
        cells.append(range(n)[first : last : steps[i]])
    for i, cell in enumerate(cells):
        if not cell:  # everything instead
            masks, steps[i] = [m | 1 << i for m in masks], 1
            cells[i] = range(shape[i])
    options = {"BeginMask": masks[0], "EndMask": masks[1]}
    more = (ints("begin", begin), ints("end", end), ints("steps", steps))
    return moved(rng, "STRIDED_SLICE", shape, tuple(map(len, cells)), *more, kind="StridedSliceOptions", **options)


def resized(rng: Rng, how_to: str = "NearestNeighbor") -> Parts:
    shape = picture(rng)
    size = tuple(int(n * f) for n, f in zip(shape[1:3], rng.choice([1, 2, 3, 1.5], 2), strict=True))
    how = [{}, {"AlignCorners": True}, {"HalfPixelCenters": True}][int(rng.integers(0, 3))]
    to = (shape[0], *size, shape[3])
    op = {"NearestNeighbor": "RESIZE_NEAREST_NEIGHBOR", "Bilinear": "RESIZE_BILINEAR"}[how_to]
    kind = f"Resize{how_to}Options"
    return moved(rng, op, shape, to, ints("size", size), kind=kind, **how)


def split(rng: Rng) -> Parts:
    shape = picture(rng, 6)
    x = act(rng, "x", shape)
    ys = [T(f"y{i}", (*shape[:3], 2), "INT8", x.scale, x.zero) for i in range(3)]
    node = N("SPLIT", ["axis", "x"], [y.name for y in ys], "SplitOptions", {"NumSplits": 3})
    return [ints("axis", [3]), x, *ys], [node]


def gathered(rng: Rng) -> Parts:
    shape, axis = picture(rng), int(rng.integers(0, 4))
    cells = rng.integers(0, shape[axis], int(rng.integers(1, 6)))
    to = (*shape[:axis], len(cells), *shape[axis + 1 :])
    return moved(rng, "GATHER", shape, to, ints("cells", cells), kind="GatherOptions", Axis=axis)


def matmul(rng: Rng) -> Parts:
    b, m, k, n = (int(v) for v in rng.integers(1, 6, 4))
    adj = [bool(v) for v in rng.integers(0, 2, 2)]
    shapes = ((b, k, m) if adj[0] else (b, m, k)), ((b, n, k) if adj[1] else (b, k, n))
    parts = [act(rng, name, shape) for name, shape in zip("ab", shapes, strict=True)]
    options = {"AdjX": adj[0], "AdjY": adj[1]}
    y = act(rng, "y", (b, m, n), scale=scale(rng, 0.02))
    return [*parts, y], [N("BATCH_MATMUL", ["a", "b"], ["y"], "BatchMatMulOptions", options)]


def door(rng: Rng) -> Parts:
    """Reals in, requantised, out again, and as uint8."""
    q, r, u = (
        act(rng, "q", (1, 99)),
        act(rng, "r", (1, 99)),
        T("u", (1, 99), "UINT8", scale(rng), int(rng.integers(0, 256))),
    )
    nodes = [N("QUANTIZE", ["x"], ["q"]), N("QUANTIZE", ["q"], ["r"]), N("QUANTIZE", ["r"], ["u"])]
    nodes += [N("DEQUANTIZE", ["r"], ["y"])]
    return [T("x", (1, 99), "FLOAT32"), q, r, u, T("y", (1, 99), "FLOAT32")], nodes


def byte_door(rng: Rng) -> Parts:
    x, q = T("x", (1, 99), "UINT8", scale(rng), int(rng.integers(0, 256))), act(rng, "y", (1, 99))
    return [x, q], [N("QUANTIZE", ["x"], ["y"])]


OPS: dict[str, Callable[[Rng], Parts]] = {
    "conv": conv, "depthwise": lambda rng: conv(rng, True), "dense": dense, "matmul": matmul,
    "add": binary("ADD", "AddOptions"), "sub": binary("SUB", "SubOptions"), "mul": binary("MUL", "MulOptions"),
    **{op.lower(): reduction(op) for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")},
    **{op.lower(): pool(op) for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},
    "logistic": unary("LOGISTIC", y=(1 / 256, -128)), "tanh": unary("TANH", y=(1 / 128, 0)),
    "leaky_relu": unary("LEAKY_RELU", "LeakyReluOptions", options={"Alpha": lambda rng: float(rng.uniform(-0.5, 1))}),
    "relu": unary("RELU"), "relu6": unary("RELU6", x=(0.04, 0.3), same=True), "abs": unary("ABS"), "elu": unary("ELU"),
    "hard_swish": unary("HARD_SWISH"), "softmax": softmax, "concat": concat, "pad": padded, "mirror_pad": mirrored,
    "transpose": transposed, "strided_slice": strided, "resize_nearest": resized,
    "resize_bilinear": lambda rng: resized(rng, "Bilinear"), "split": split, "gather": gathered,
    "prelu": prelu, "rsqrt": rsqrt, "l2_norm": l2_norm,
    "squared_difference": binary("SQUARED_DIFFERENCE", ""),
    "maximum": larger("MAXIMUM"), "minimum": larger("MINIMUM"), "transpose_conv": transpose_conv,
    "space_to_batch": to_batches, "batch_to_space": from_batches, "arg_max": arg("ARG_MAX"), "arg_min": arg("ARG_MIN"),
    "quantize": door, "quantize_bytes": byte_door,
}  # fmt: skip
SEEDS = [*range(4), *(pytest.param(s, marks=pytest.mark.slow) for s in range(4, 150))]


def written(parts: Parts, file: Path) -> Path:
    tensors, nodes = parts
    made = {name for n in nodes for name in n.outs}
    ins = [t.name for t in tensors if t.data is None and t.name not in made]
    read = {name for n in nodes for name in n.ins}
    file.write_bytes(model((tensors, nodes, ins, [t.name for t in tensors if t.name in made - read])))
    return file


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_single_ops(op: str, seed: int, tmp_path: Path) -> None:
    same_as_theirs(written(OPS[op](np.random.default_rng([seed, *op.encode()])), tmp_path / f"{op}.tflite"), 2)


@pytest.mark.parametrize("op", OPS)
def test_single_ops_compiled(op: str, tmp_path: Path) -> None:
    compiled_is_the_same(written(OPS[op](np.random.default_rng([0, *op.encode()])), tmp_path / f"{op}.tflite"), 2)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_broken_ops_are_the_users_fault(op: str, count: int, tmp_path: Path) -> None:
    """Whatever stands in a file: a legal graph, or an error of the user's kind."""
    file = written(OPS[op](np.random.default_rng([1, *op.encode()])), tmp_path / f"{op}.tflite")
    for data in broken(file.read_bytes(), count):
        file.write_bytes(data)
        with contextlib.suppress(UserError):
            load(file)
