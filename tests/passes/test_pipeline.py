"""The whole canonical stage: the answer stays, transpositions go, and each pass comes to rest."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import Builder, random_network

from brainc import frontends, interp, passes, spec
from brainc.errors import BugError
from brainc.ir import Graph, Stage, attrs
from brainc.passes import Context, Options

FLOAT_TWINS = [
    "mlperf-tiny/onnx/ad01_fp32.onnx",
    "mlperf-tiny/onnx/ic_resnet8_fp32.onnx",
    "mlperf-tiny/onnx/kws_dscnn_fp32.onnx",
    "mlperf-tiny/onnx/sww_dscnn1d_fp32.onnx",
    "mlperf-tiny/onnx/vww_mobilenetv1_025_fp32.onnx",
    "onnx2c/atmega_mnist.onnx",
    "onnx2c/mnist_pytorch.onnx",
    "onnx2c/mnist_zoo.onnx",
]


def canonical(graph: Graph, **options: str) -> Graph:
    return passes.run(graph, Context(Options(**options)), until=Stage.CANONICAL)


def ops_of(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes())


def inner_transposes(graph: Graph) -> list[str]:
    """Transpositions that neither read nor write a port."""
    ports = {p for e in graph.entries for p in (*e.inputs, *e.outputs)}
    return [n.name for n in graph.nodes() if n.op == "transpose" and not ports & {*n.inputs, *n.outputs}]


def same_answers(before: Graph, after: Graph, seed: int = 0, atol: float = 2e-4) -> None:
    inputs = interp.random_inputs(before, None, seed)
    want, got = interp.outputs(before, None, inputs), interp.outputs(after, None, inputs)
    for port in want:
        assert got[port].dtype == want[port].dtype
        np.testing.assert_allclose(got[port], want[port], atol=atol, rtol=1e-4)


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_random_networks_keep_their_answer(seed: int, channels_first: bool) -> None:
    graph = random_network(seed, channels_first=channels_first)
    spec.verify(graph)
    done = canonical(graph)
    same_answers(graph, done)
    assert not {"conv2d", "dense", "dwconv2d"} & {
        n.op for n in done.nodes() if n.op in spec.WEIGHTED and len(n.inputs) < 3
    }
    assert all(graph.type(p) == done.type(p) for p in (*done.entries[0].inputs, *done.entries[0].outputs))
    if not channels_first:
        assert ops_of(done)["transpose"] == 0


@pytest.mark.parametrize("seed", range(40))
def test_channels_first_networks_lose_their_transpositions(seed: int) -> None:
    """Only those at a port remain; a port is read at most through ops on single elements."""
    graph = random_network(seed, channels_first=True)
    done = canonical(graph)
    ports = len(graph.entries[0].inputs) + len(graph.entries[0].outputs)
    assert ops_of(done)["transpose"] < ports + 1


def test_a_second_run_changes_nothing() -> None:
    done = canonical(random_network(3, channels_first=True))
    again = done
    for stage, some in passes.PIPELINE:
        if stage is Stage.CANONICAL:
            for one in some:
                again = one(again, Context())
    assert again is done


@pytest.mark.parametrize("seed", range(0, 12))
def test_layout_nhwc_turns_the_ports(seed: int) -> None:
    graph = random_network(seed, channels_first=True)
    done = canonical(graph, layout="nhwc")
    shape = graph.type("x").shape
    inputs = interp.random_inputs(graph, None, 0)
    want = interp.outputs(graph, None, inputs)
    if done.type("x").shape != shape:
        inputs = {"x": np.ascontiguousarray(inputs["x"].transpose(0, 2, 3, 1))}
    got = interp.outputs(done, None, inputs)
    for port, array in want.items():
        if done.type(port).shape != graph.type(port).shape:
            array = array.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(got[port], array, atol=2e-4, rtol=1e-4)


def test_layout_nhwc_leaves_no_transposition() -> None:
    b = Builder()
    x = b.input("x", (1, 3, 8, 8))
    y = b.spatial("conv2d", x, b.normal(4, 3, 3, 3), channels_first=True)
    done = canonical(b.graph(y), layout="nhwc")
    assert ops_of(done) == {"conv2d": 1}
    assert done.type("x").shape == (1, 8, 8, 3)


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    def spoil(graph: Graph, context: Context) -> Graph:
        entry = graph.entries[0]
        bad = replace(entry.nodes[0], attrs=attrs(perm=(0, 1, 2, 3)))
        return graph.replaced(entries=(replace(entry, nodes=(bad, *entry.nodes[1:])),))

    b = Builder()
    graph = b.graph(b.spatial("maxpool2d", b.input("x", (1, 2, 4, 6)), channels_first=True, kernel=(2, 2)))
    with pytest.raises(BugError, match="pass spoil broke the graph"):
        passes._step(graph, Context(), spoil, [])


def test_check_names_the_pass_that_changed_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph, context: Context) -> Graph:
        entry = graph.entries[0]
        bad = replace(entry.nodes[0], attrs=attrs(lo=0.5))
        return graph.replaced(entries=(replace(entry, nodes=(bad,)),))

    b = Builder()
    graph = b.graph(b.add("clamp", b.input("x", (4,)), lo=0.0))
    monkeypatch.setattr(passes, "PIPELINE", ((Stage.CANONICAL, (wrong, lambda g, c: g)),))
    monkeypatch.setenv("BRAINC_CHECK", "1")
    with pytest.raises(BugError, match="pass wrong changed the answer"):
        passes.run(graph, Context())


def test_dump_and_debug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BRAINC_DUMP", str(tmp_path))
    monkeypatch.setenv("BRAINC_DEBUG", "1")
    canonical(random_network(1, channels_first=True))
    assert (tmp_path / "00_fold_constants.txt").read_text().startswith("graph test @IMPORTED")
    assert "to_rows" in capsys.readouterr().err


@pytest.mark.parametrize("file", FLOAT_TWINS)
def test_real_float_models(file: str, models: Path) -> None:
    """No transposition inside, the same answer; a channels-first image costs at most one, at the door."""
    graph = frontends.load(models / file, name="m")
    done = canonical(graph)
    same_answers(graph, done, atol=1e-3)
    assert inner_transposes(done) == []
    assert ops_of(done)["transpose"] == 0  # these have one channel, or channels last


def test_passes_leave_the_environment_alone() -> None:
    before = dict(os.environ)
    canonical(random_network(1, channels_first=True))
    assert dict(os.environ) == before
