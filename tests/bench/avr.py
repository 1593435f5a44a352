"""brainc on the Arduino, and its peers: the README's tables, as Markdown, for this checkout.

    python tests/bench/avr.py [layers brains peers]        BRAINC_MODELS names the folder of the larger models

Cycles are simavr's, exact, with the Arduino tools' -Os. Those of a layer are the layer's alone, those of a brain a
whole step, the most over five inputs: its own samples, or random ones. RAM is arena, state, data and the stack;
flash is what the brain adds to an image. The peers (pip install brainc[peers]; onnx2c where it is on the path) are
built in the same run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import avr_models
import avr_peers
from avr_peers import Figures

from brainc import bench, samples
from brainc.compiler import RANDOM, Request, compile_job, ports, prepare
from brainc.errors import FitError
from brainc.resources import examples_dir

SAMPLES, SEED = 5, 1
FAR = (64, 64, 1024, 64, 64)  # widths: of the first layer and the last, alike, one lies beyond 64 KB of flash
CONV_MACS = 8 * 8 * 16 * 16 * 9  # nominal: as if the padding were multiplied, too
NONE = "-"


@dataclass(frozen=True)
class Row:
    """A line of a table: what it is, on which board, the most cycles a MAC or a step may take, and how it is made.

    `ram` is the most bytes that it may take, where that is the question.
    """

    title: str
    board: str
    goal: float
    request: Callable[[Path], Request]
    ram: float = float("inf")


def _int8(path: Path, **words: Any) -> Request:
    return Request(path, "int8", RANDOM, io="int8", **words)


LAYERS = (
    Row("dense 64x64, int8 to sums", "uno", 9.2, lambda at: Request(avr_models.dense_sums(at))),
    Row("dense 64x64, int8 to int8", "uno", 11.6, lambda at: Request(avr_models.dense_int8(at))),
    Row("conv 3x3, 16 to 16, 8x8", "uno", 9.5, lambda at: Request(avr_models.conv_int8(at), layout="nhwc")),
    Row("dense 64x64, int8 to sums", "mega", 9.2, lambda at: Request(avr_models.dense_sums(at))),
    Row("dense 64x64, int8 to int8", "mega", 11.6, lambda at: Request(avr_models.dense_int8(at))),
    Row("dense 64x64 among 142 KB of weights", "mega", 11.95, lambda at: _int8(avr_models.wide(at, FAR))),
)


def figures(request: Request, board: str) -> Mapping[str, Any]:
    """What `brainc bench` measures over some of the brain's own samples, or random ones where it has none."""
    job = prepare(request, board)
    program = compile_job(job)
    given = ports(program.graph)
    own = samples.load(job.brain.samples, given) if job.brain.samples else samples.random(given, SAMPLES, SEED)
    return bench.measure(program, {port: array[:SAMPLES] for port, array in own.arrays.items()})


def layer_rows() -> Iterator[str]:
    """Cycles a multiply-accumulate of single layers."""
    yield "| layer | on | cycles | cycles/MAC | goal |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        for row in LAYERS:
            layers = figures(row.request(Path(folder) / "model.onnx"), row.board)["layers"]
            alike = [layer for layer in layers if layer["macs"] in (64 * 64, CONV_MACS)] or layers
            worst = max(alike, key=lambda layer: layer["cycles"])
            macs = CONV_MACS if "conv" in row.title else worst["macs"]
            cells = (row.title, row.board, number(worst["cycles"]), *held(worst["cycles"] / macs, row.goal, 2))
            yield line(*cells)


def brains() -> Iterator[Row]:
    """Whole brains, those whose files are here."""
    digits, scribe = examples_dir() / "digits", examples_dir() / "scribe"
    yield Row("digits", "uno", 12 * 25_600, lambda _: Request(digits, "int8", io="int8"))
    if scribe.is_dir():
        yield Row("scribe, a character", "uno", 600_000, lambda _: Request(scribe))
    if models := os.environ.get("BRAINC_MODELS"):
        mnist = Path(models) / "onnx2c" / "atmega_mnist.onnx"
        kws = Path(models) / "mlperf-tiny" / "onnx" / "kws_dscnn_int8.onnx"
        yield Row("atmega_mnist", "uno", 420_000, lambda _: _int8(mnist))
        yield Row("KWS DS-CNN", "mega", float("inf"), lambda _: Request(kws, io="int8"), ram=7680)


def brain_rows() -> Iterator[str]:
    """Cycles and memory of whole steps."""
    yield "\n| brain | on | cycles | goal | cycles/MAC | RAM | goal | flash |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in brains():
        try:
            found = figures(row.request(Path()), row.board)
        except FitError as error:
            yield line(row.title, row.board, f"does not fit: {error.what.splitlines()[0]}", *[NONE] * 5)
            continue
        entry = next(iter(found["entries"].values()))
        each, ram = f"{entry['cycles'] / entry['macs']:.1f}", held(found["ram_bytes"]["total"], row.ram, 0)
        flash = number(found["flash_bytes"]["total"])
        yield line(row.title, row.board, *held(entry["cycles"], row.goal, 0), each, *ram, flash)


def onnx2c_rows() -> Iterator[str]:
    """atmega_mnist by onnx2c, in floats, or what stands for it."""
    if "BRAINC_MODELS" not in os.environ:
        return
    path = Path(os.environ["BRAINC_MODELS"]) / "onnx2c" / "atmega_mnist.onnx"
    inputs = np.random.default_rng(SEED).random((2, 1, 1, 14, 14), np.float32)
    if theirs := avr_peers.by_onnx2c(path, inputs, 10):
        yield peer("atmega_mnist", "onnx2c, floats", theirs)
    else:
        entry = figures(Request(path, "none"), "mega")  # the Uno has not the RAM for it
        own = Figures(*(entry["entries"]["step"]["cycles"], entry["ram_bytes"]["total"], entry["flash_bytes"]["total"]))
        yield peer("atmega_mnist", "plain C in floats on the mega (brainc --quantize none)", own)
    found = figures(_int8(path), "uno")
    sizes = found["ram_bytes"]["total"], found["flash_bytes"]["total"]
    yield peer("atmega_mnist", "brainc, `--io int8`", Figures(found["entries"]["step"]["cycles"], *sizes))


def peer_rows() -> Iterator[str]:
    """The same models on scikit-learn's digits by others and by brainc, on the Uno."""
    yield "\n| model | by | cycles | RAM | flash | right |"
    yield "|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        for side, hidden in ((4, 8), (8, 16)):
            data, title = avr_peers.split(side), f"MLP {side * side}-{hidden}-10"
            model = avr_peers.network(data, hidden)
            path = avr_peers.as_onnx(model, Path(folder) / "mlp.onnx")
            title += f", {model.score(data.test_x, data.test_y):.1%} right in scikit-learn"
            yield peer(title, "emlearn, floats", avr_peers.by_emlearn(model, data))
            yield peer(title, "brainc, float input", avr_peers.by_brainc(path, data, "native"))
            yield peer(title, "brainc, `--io int8`", avr_peers.by_brainc(path, data, "int8"))
    data = avr_peers.split(8)
    for trees in (5, 10):
        model = avr_peers.forest(data, trees)
        title = f"forest of {trees} trees, {model.score(avr_peers.as_integers(data.test_x), data.test_y):.1%}"
        yield peer(title, "emlearn, int16", avr_peers.by_emlearn(model, data, integers=True))
    yield from onnx2c_rows()
    yield "\nSmall forests are cheaper still, where their accuracy will do. RAM includes the input and the stack."


def peer(title: str, by: str, found: Figures) -> str:
    right = NONE if found.accuracy is None else f"{found.accuracy:.1%}"
    note = "" if found.fits else " (does not fit)"
    return line(title, by, number(found.cycles), number(found.ram) + note, number(found.flash), right)


def held(value: float, goal: float, digits: int) -> tuple[str, str]:
    """A figure, and whether it keeps to the goal."""
    if goal == float("inf"):
        return f"**{value:,.{digits}f}**", NONE
    return f"**{value:,.{digits}f}** {'✓' if value <= goal else '✗'}", f"≤ {goal:,g}" if digits else f"≤ {goal:,.0f}"


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def number(value: float) -> str:
    return f"{value:,.0f}"


TABLES = {"layers": layer_rows, "brains": brain_rows, "peers": peer_rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], help="default: all")
    given = parser.parse_args()
    for name, rows in TABLES.items():
        if name in given.tables or not given.tables:
            for text in rows():
                print(text, flush=True)


if __name__ == "__main__":
    main()
