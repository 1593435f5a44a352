"""Quality figures: known noise gives the known ratio; metrics agree with scikit-learn and with paper sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import Builder
from sklearn.metrics import roc_auc_score

from brainc import passes, quality
from brainc.dtypes import I8
from brainc.errors import BraincError
from brainc.ir import Graph, Stage
from brainc.passes import Context, Options

RNG = np.random.default_rng(3)
X = RNG.normal(0, 1, (200, 1, 6)).astype(np.float32)


def network(seed: int = 0) -> Graph:
    """dense, ReLU, dense; the first layer's channels differ widely in size, so it gets equalised."""
    b = Builder(seed)
    x = b.input("x", (1, 6))
    sizes = np.geomspace(0.02, 2.0, 8)[:, None].astype(np.float32)
    first = b.const(b.rng.standard_normal((8, 6)).astype(np.float32) * sizes)
    h = b.add("dense", x, first, b.const(np.zeros(8, np.float32)), name="h", lo=0.0)
    second = b.const(b.rng.standard_normal((4, 8)).astype(np.float32) / sizes.T)
    y = b.add("dense", h, second, b.const(np.zeros(4, np.float32)), name="y")
    return b.graph(y, stage=Stage.CANONICAL)


def test_layers_are_matched_by_name_even_when_equalised() -> None:
    notes: list[str] = []
    context = Context(Options(quantize="int8"), {"x": X}, note=notes.append)
    brain = passes.run(network(), context, until=Stage.INTEGER)
    assert "equalised" in notes[0]
    found = {layer.name: layer for layer in quality.compare(network(), brain, {"x": X}, None, None).layers}
    assert found["h/even"].op == "qdense" and 30 < found["h/even"].snr_db < 60
    assert 30 < found["y"].snr_db < 60


def test_noise_of_known_size_gives_the_known_ratio() -> None:
    """Every weight a tenth larger: noise a hundredth of the signal's power, 20 dB. No noise: infinite."""

    def graph(weight: float) -> Graph:
        b = Builder()
        x = b.input("x", (1, 6))
        w, zero = b.const(np.full((2, 6), weight, np.float32)), b.const(np.zeros(2, np.float32))
        return b.graph(b.add("dense", x, w, zero, name="y"), stage=Stage.CANONICAL)

    (layer,) = quality.compare(graph(1.0), graph(1.1), {"x": X}, None, None).layers
    assert layer.snr_db == pytest.approx(20, abs=1e-3)
    assert quality.compare(graph(1.0), graph(1.0), {"x": X}, None, None).layers[0].snr_db == float("inf")


def test_both_sides_are_scored() -> None:
    labels = quality.batch.run_batch(network(), network().entries[0], {"x": X})["y"].argmax(axis=1)
    found = quality.compare(network(), network(1), {"x": X}, labels, "top1")
    assert found.metric == "top1" and found.float_value == 1.0
    assert found.brain_value is not None and found.brain_value < 0.9


def test_auc_is_that_of_scikit_learn_with_ties_and_windows() -> None:
    x, noise = RNG.integers(-9, 9, (60, 5)).astype(float), RNG.integers(0, 3, (60, 1))
    y = x + noise
    assert quality.auc_error({"x": x}, {"y": y}, labels := RNG.integers(0, 2, 60)) == pytest.approx(
        roc_auc_score(labels, noise[:, 0].astype(float) ** 2)
    )
    recordings = RNG.integers(0, 2, 20)
    means = np.square(noise.astype(float)).reshape(20, 3).mean(axis=1)
    assert quality.auc_error({"x": x}, {"y": y}, recordings) == pytest.approx(roc_auc_score(recordings, means))


def test_mse_against_targets() -> None:
    assert quality.mse({}, {"y": np.array([[1.0], [2.0]])}, np.array([1.0, 4.0])) == 2.0


def test_a_metric_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def share(inputs, outputs, labels):\n    return float((outputs['y'] > labels).mean())\n")
    found = quality.compare(network(), network(), {"x": X}, np.full((200, 1), -1e9), f"{file}:share")
    assert found.float_value == found.brain_value == 1.0


@pytest.mark.parametrize(
    ("metric", "labels", "text"),
    [
        ("top2", None, "no metric 'top2'"),
        ("gone.py:f", None, "no metric file"),
        ("top1", None, "carry no labels"),
        ("top1", np.zeros(7), "7 labels for 200 samples"),
        ("auc_error", np.zeros(200), "of its size"),
    ],
)
def test_errors_say_what_to_do(metric: str, labels: np.ndarray | None, text: str) -> None:
    with pytest.raises(BraincError, match=text) as caught:
        quality.compare(network(), network(), {"x": X}, labels, metric)
    assert caught.value.fix


@pytest.mark.parametrize(("source", "text"), [("x = 1\n", "no function 'f'"), ("1 / 0\n", "cannot be run")])
def test_a_broken_metric_file(source: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(BraincError, match=text):
        quality.metric_function(f"{file}:f")


def test_labels_that_are_classes_are_scored_without_being_asked() -> None:
    graph = Builder()
    x = graph.input("x", (1, 4))
    real = graph.graph(graph.add("unary", x, fn="tanh"))
    samples = {"x": np.eye(4, dtype=np.float32).reshape(4, 1, 4)}
    found = quality.compare(real, real, samples, np.arange(4), None)
    assert (found.metric, found.float_value, found.brain_value) == ("top1", 1.0, 1.0)
    assert quality.compare(real, real, samples, np.arange(4.0), None).metric is None


def test_a_model_that_came_in_integers_has_no_float_twin() -> None:
    graph = Builder()
    x = graph.input("x", (1, 4), I8)
    table = graph.const(np.arange(-128, 128).astype(np.int8))
    exact = graph.graph(graph.add("qlut", x, table))
    samples = {"x": np.eye(4, dtype=np.int8).reshape(4, 1, 4)}
    found = quality.compare(exact, exact, samples, np.arange(4), None)
    assert (found.layers, found.float_value, found.brain_value) == ((), None, 1.0)
