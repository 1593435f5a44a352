"""Is the quantised brain still good? Statistics against the float stage, never mixed with the proof of the C.

Knocks: `brainc check --quality`, with the float graph, the brain's graph and samples. Leaves: a `Quality`:
signal-to-noise of every value that both graphs know by the same name, and the user's own metric of both.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np

from brainc import interp
from brainc.dtypes import Array
from brainc.errors import ModelError, UnsupportedError, at
from brainc.ir import Graph
from brainc.passes import batch
from brainc.passes.equalise import EVEN, STEPS
from brainc.passes.quantize import enough
from brainc.spec import MOVES

Arrays = Mapping[str, Array]
Metric = Callable[[Arrays, Arrays, Array | None], float]  # (inputs, outputs, labels): reals, first axis samples


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """One value of the brain beside its float twin."""

    name: str
    op: str
    snr_db: float  # 10 log10(signal power / noise power); infinite where they are equal


@dataclass(frozen=True, slots=True)
class Quality:
    """What quantising cost. `metric` is None (and its figures too) where samples carry no labels for it.

    `float_value` is None, and there are no layers, where the model came in integers: no float twin exists.
    """

    layers: tuple[LayerNoise, ...]
    metric: str | None = None
    float_value: float | None = None
    brain_value: float | None = None


@dataclass(slots=True)
class _Power:
    """Of a value's signal and noise; `factor`: by what `equalise` divided its channels."""

    signal: float = 0.0
    noise: float = 0.0
    factor: Array | float | None = None

    def add(self, want: Array, got: Array, *, even: bool) -> None:
        if self.factor is None:
            self.factor = _factors(want, got) if even else 1.0
        self.signal += float(np.square(want, dtype=np.float64).sum())
        self.noise += float(np.square(want.astype(np.float64) - got * self.factor).sum())

    def snr_db(self) -> float:
        if self.noise == 0.0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf


def _factors(want: Array, got: Array) -> Array:
    """The nearest of the factors that `equalise` may have used to what least squares say."""
    axes = tuple(range(want.ndim - 1))
    both = np.sum(want.astype(np.float64) * got, axis=axes)
    own = np.sum(np.square(got, dtype=np.float64), axis=axes)
    fitted = np.where((own > 0) & (both > 0), both / np.maximum(own, 1e-30), 1.0)
    return np.asarray(2.0 ** (np.rint(np.log2(fitted) * STEPS) / STEPS))


def compare(
    float_graph: Graph, brain_graph: Graph, samples: Arrays, labels: Array | None, metric: str | None
) -> Quality:
    """Both graphs (their first entries) on the same samples.

    samples: an array [n, ...] per input port, in reals or in the port's own integers. labels: what the metric
    says. metric: `top1`, `auc_error`, `mse`, `FILE.py:function`, or None: `top1` if the labels are classes, else the
    layers alone.
    """
    metric = metric or ("top1" if _are_classes(labels, samples, float_graph) else None)
    score = metric_function(metric) if metric else None
    powers: dict[str, _Power] = {}
    entry, count = float_graph.entries[0], len(next(iter(samples.values())))
    kept: list[dict[str, list[Array]]] = [{p: [] for p in (*entry.inputs, *entry.outputs)} for _ in range(2)]
    made = [n for n in brain_graph.entries[0].nodes if n.op not in MOVES | {"qsample"}]  # a draw has no noise
    exact = {out for node in entry.nodes if node.op.startswith("q") for out in node.outputs}  # and so no float twin
    ops = {out: node.op for node in made for out in node.outputs if out.removesuffix(EVEN) not in exact}
    users = float_graph.consumers()
    ends = {name: enough(float_graph, [name], users) for name in float_graph.values}
    for sides in batch.side_by_side(float_graph, brain_graph, samples):
        wants, gots = (
            {name: interp.to_real(array, graph.type(name)) for name, array in side.items()}
            for graph, side in zip((float_graph, brain_graph), sides, strict=True)
        )
        for name in ops:
            twin = name.removesuffix(EVEN)
            if twin in wants and wants[twin].shape == gots[name].shape:
                want = np.clip(wants[twin], *ends[twin])
                powers.setdefault(name, _Power()).add(want, gots[name], even=twin != name)
        for ports, values in zip(kept, (wants, gots), strict=True):
            for port, parts in ports.items():
                parts.append(values[port])
    layers = tuple(LayerNoise(name, ops[name], power.snr_db()) for name, power in powers.items())
    if score is None:
        return Quality(layers)
    flat = [{port: np.concatenate(parts).reshape(count, -1) for port, parts in side.items()} for side in kept]
    inputs = {port: flat[0][port] for port in entry.inputs}  # whatever the brain made of them
    with at(op=metric):
        figures = [float(score(inputs, {p: side[p] for p in entry.outputs}, labels)) for side in flat]
    return Quality(layers, metric, figures[0] if layers else None, figures[1])


def _are_classes(labels: Array | None, samples: Arrays, graph: Graph) -> bool:
    """Whether each sample has one whole number below the size of the first output."""
    count, outputs = len(next(iter(samples.values()))), graph.entries[0].outputs
    if labels is None or labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer) or not count:
        return False
    return bool(labels.min() >= 0 and labels.max() < graph.type(outputs[0]).size > 1)


def metric_function(metric: str) -> Metric:
    """The function behind a metric's name; UserError where there is none."""
    if metric in METRICS:
        return METRICS[metric]
    file, colon, name = metric.rpartition(":")
    if not colon or not file.endswith(".py"):
        known = ", ".join(METRICS)
        raise UnsupportedError(f"there is no metric {metric!r}", fix=f"choose {known}, or FILE.py:function")
    with at(file=file):
        path = Path(file)
        if not path.is_file():
            raise ModelError(f"there is no metric file {path}", fix="check the path")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            what = f"{path.name} cannot be run: {error}"
            raise ModelError(what, fix="run it with python and mend it") from error
        function = getattr(module, name, None)
        if not callable(function):
            fix = f"define {name}(inputs, outputs, labels) -> float; the first two map ports to [n, size]"
            raise ModelError(f"{path.name} has no function {name!r}", fix=fix)
        return cast(Metric, function)


def top1(inputs: Arrays, outputs: Arrays, labels: Array | None) -> float:
    """Share of samples whose largest output (first port) is the one that labels [n] name."""
    y = next(iter(outputs.values()))
    wanted = _labels(labels, len(y), "the index of each sample's class")
    return float(np.mean(np.argmax(y, axis=1) == wanted))


def auc_error(inputs: Arrays, outputs: Arrays, labels: Array | None) -> float:
    """Area under the ROC curve of the squared error between first input and output as a sign of label 1.

    labels [m], n a multiple of m: n / m consecutive samples are the windows of one recording, whose score is
    their mean. Ties count half.
    """
    x, y = next(iter(inputs.values())), next(iter(outputs.values()))
    if x.shape != y.shape:
        what = "auc_error compares an input with an output of its size"
        raise ModelError(what, fix="choose another metric")
    wanted = _labels(labels, None, "1 for an anomaly, 0 for none")
    if len(x) % max(len(wanted), 1):
        what = f"{len(x)} samples are no multiple of {len(wanted)} labels"
        raise ModelError(what, fix="give whole recordings")
    errors = np.square(x.astype(np.float64) - y).mean(axis=1).reshape(len(wanted), -1).mean(axis=1)
    odd, normal = errors[wanted == 1], errors[wanted != 1]
    if not odd.size or not normal.size:
        raise ModelError("auc_error needs labels of both kinds", fix="label anomalies 1, others 0")
    wins = (odd[:, None] > normal).sum() + 0.5 * (odd[:, None] == normal).sum()
    return float(wins / (odd.size * normal.size))


def mse(inputs: Arrays, outputs: Arrays, labels: Array | None) -> float:
    """Mean squared difference of the first output port and labels [n, ...]."""
    y = next(iter(outputs.values()))
    return float(np.square(y.astype(np.float64) - _labels(labels, len(y), "targets").reshape(y.shape)).mean())


def _labels(labels: Array | None, count: int | None, what: str) -> Array:
    if labels is None:
        raise ModelError("the samples carry no labels", fix=f"add an array y to the samples file: {what}")
    if count is not None and len(labels) != count:
        raise ModelError(f"there are {len(labels)} labels for {count} samples", fix=f"give one each: {what}")
    return np.asarray(labels)


METRICS: Final[dict[str, Metric]] = {"top1": top1, "auc_error": auc_error, "mse": mse}
