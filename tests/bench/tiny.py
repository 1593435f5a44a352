"""The four MLPerf Tiny networks, for the benches beside this file: their files, their real samples and labels.

BRAINC_MODELS names the folder of models. A network is taken from its .tflite file where a frontend reads
these, else from its ONNX twin.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "brains"))
from feeding import AD_SCALE, AD_ZERO, quantised, windows

from brainc import frontends

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Network:
    """A network: what tables call it, its file, its metric, and the file of its golden vectors."""

    title: str
    file: str
    metric: str
    golden: str


NETWORKS = {
    "ic": Network("IC ResNet8", "ic_resnet8_int8", "top1", "resnet8"),
    "kws": Network("KWS DS-CNN", "kws_dscnn_int8", "top1", "dscnn"),
    "vww": Network("VWW MobileNetV1", "vww_mobilenetv1_025_int8", "top1", "vww"),
    "ad": Network("AD autoencoder", "ad01_int8", "auc_error", "ad"),
}
WINDOW_STEP = 28  # of a recording's 196 windows every 28th, unless whole sets are asked for


def folder(parser: ArgumentParser) -> Path:
    """Where the MLPerf Tiny models lie."""
    if "BRAINC_MODELS" not in os.environ:
        parser.error("set BRAINC_MODELS to the folder of models")
    return Path(os.environ["BRAINC_MODELS"]) / "mlperf-tiny"


def tflite(models: Path, task: str) -> Path:
    """The file that others read, too."""
    return models / f"{NETWORKS[task].file}.tflite"


def source(models: Path, task: str) -> Path:
    """The file to compile."""
    read = {suffix for frontend in frontends.all_frontends().values() for suffix in frontend.SUFFIXES}
    return tflite(models, task) if ".tflite" in read else models / "onnx" / f"{NETWORKS[task].file}.onnx"


def labelled(models: Path, task: str, count: int | None) -> tuple[Array, Array]:
    """(int8 inputs [n, inputs a sample, ...], labels [n]): `count` samples spread over the set, or (None) all."""
    data = np.load(models / "data" / f"{task}01.npz")
    total = len(data["y"])
    chosen = np.arange(total) if count is None else np.linspace(0, total - 1, min(count, total)).astype(int)
    x, y = data["x"][chosen], data["y"][chosen]
    if task == "ad":
        step = 1 if count is None else WINDOW_STEP
        return quantised(np.stack([windows(frames)[::step] for frames in x]), AD_SCALE, AD_ZERO), y
    return (x if task == "kws" else (x.astype(np.int16) - 128).astype(np.int8))[:, None], y
