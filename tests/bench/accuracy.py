"""Accuracy on the whole labelled sets, in numpy: imported int8 twins, and our own int8 of the float twins.

    BRAINC_MODELS=… python tests/bench/accuracy.py [kws vww ic ad] [--calibration minmax|percentile|mse]

The int8 twins run all samples. The float twins are calibrated on the first 100 (ic: 50; ad: every tenth
window of 100 recordings) and scored, float and int8, on the others. The arithmetic is that of the
interpreter, to which every target is equal to the byte.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "brains"))
from feeding import AD_SCALE, AD_ZERO, quantised, windows

from brainc import frontends, interp, passes, quality
from brainc.ir import Graph, Stage
from brainc.passes import Context, Options, batch

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A task: its two twins, its metric and how many samples calibrate."""

    int8: str
    real: str
    metric: str
    calibrate: int
    window_step: int = 1


CASES = {
    "kws": Case("kws_dscnn_int8", "kws_dscnn_purefp32", "top1", 100),
    "vww": Case("vww_mobilenetv1_025_int8", "vww_mobilenetv1_025_fp32", "top1", 100),
    "ic": Case("ic_resnet8_int8", "ic_resnet8_fp32", "top1", 50),
    "ad": Case("ad01_int8", "ad01_fp32", "auc_error", 100, window_step=10),
}


def inputs(folder: Path, task: str, *, real: bool) -> tuple[Array, Array]:
    """(samples [n, ...] or [n, windows, ...], labels [n]) as the twin takes them."""
    data = np.load(folder / f"{task}01.npz")
    x, y = data["x"], data["y"]
    if task == "kws":
        return ((x.astype(np.float32) - 83) * np.float32(0.5847029), y) if real else (x, y)
    if task == "ad":
        cut = np.stack([windows(frames) for frames in x])
        return (cut, y) if real else (quantised(cut, AD_SCALE, AD_ZERO), y)
    if real:
        return x.astype(np.float32) / (255 if task == "vww" else 1), y
    return (x.astype(np.int16) - 128).astype(np.int8), y


def score(graph: Graph, metric: str, x: Array, y: Array) -> float:
    """The metric of a graph on samples; a sample of several windows counts as their mean."""
    entry = graph.entries[0]
    port, out = entry.inputs[0], entry.outputs[0]
    flat = x.reshape(-1, *graph.type(port).shape[1:])
    got = np.concatenate([interp.to_real(run[out], graph.type(out)) for run in batch.runs(graph, entry, {port: flat})])
    given = interp.to_real(flat, graph.type(port)).reshape(len(flat), -1)
    return quality.METRICS[metric]({port: given}, {out: got.reshape(len(flat), -1)}, y)


def task(folder: Path, name: str, calibration: str) -> None:
    case = CASES[name]
    twin = passes.run(frontends.load(folder / f"onnx/{case.int8}.onnx", name="m"), Context())
    x, y = inputs(folder / "data", name, real=False)
    print(f"{name} int8 twin, all {len(y)}: {case.metric} {score(twin, case.metric, x, y):.4f}", flush=True)
    x, y = inputs(folder / "data", name, real=True)
    real = passes.run(frontends.load(folder / f"onnx/{case.real}.onnx", name="m"), Context(), until=Stage.CANONICAL)
    some = x[: case.calibrate, :: case.window_step] if case.window_step > 1 else x[: case.calibrate]
    port = real.entries[0].inputs[0]
    options = Options(quantize="int8", calibration=calibration)
    notes: list[str] = []
    context = Context(options, {port: some.reshape(-1, *real.type(port).shape[1:])}, note=notes.append)
    start = time.perf_counter()
    brain = passes.run(real, context)
    seconds = time.perf_counter() - start
    rest, labels = x[case.calibrate :], y[case.calibrate :]
    figures = [score(graph, case.metric, rest, labels) for graph in (real, brain)]
    print(
        f"{name} own int8, other {len(labels)}: float {figures[0]:.4f} int8 {figures[1]:.4f} "
        f"({figures[1] - figures[0]:+.4f}), quantised in {seconds:.1f} s {'; '.join(notes)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=list(CASES))
    parser.add_argument("--calibration", default="mse")
    given = parser.parse_args()
    if "BRAINC_MODELS" not in os.environ:
        parser.error("set BRAINC_MODELS to the folder of models")
    for name in given.tasks or CASES:
        task(Path(os.environ["BRAINC_MODELS"]) / "mlperf-tiny", name, given.calibration)


if __name__ == "__main__":
    main()
