"""The benches that print tables: their figures are those of the library, and their samples the sets' own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from feeding import AD_SCALE, AD_ZERO, quantised, windows

from brainc import toolchain

BENCHES = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCHES))
import avr  # noqa: E402
import avr_peers  # noqa: E402
import cortex_m  # noqa: E402
import tiny  # noqa: E402

REAL_BRAINS = avr.brains


def printed(script: str, *words: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(BENCHES.parents[1])}
    done = subprocess.run([sys.executable, BENCHES / script, *words], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def built(level: str, instructions: int, ram: int = 0) -> cortex_m.Built:
    figures = {"entries": {"step": {"instructions": instructions}}, "ram_bytes": {"total": ram}}
    return cortex_m.Built(level, figures)


def test_the_larger_code_must_be_worth_it() -> None:
    assert cortex_m.fast([built("O2", 1000), built("O3", 971)]).level == "O2"
    assert cortex_m.fast([built("O2", 1000), built("O3", 970)]).level == "O3"
    assert cortex_m.small([built("O2", 1000, 500), built("O3", 970, 501)]).level == "O2"


def test_a_row_says_whether_its_goal_is_reached() -> None:
    shown = {"ic": (15.5e6, "15.50", "-O2"), "ad": (0.37e6, "0.370", "-O3")}
    peers, goal, ours = cortex_m.rows("M4", cortex_m.INSTRUCTIONS["cortex-m4"], cortex_m.limit, shown)
    assert peers == "| M4 | best peer | 29.86 T | 0.576 B, 0.582 T |"
    assert goal == "| | goal | ≤ 15.5 | ≤ 0.36 |"
    assert ours == "| | brainc | **15.50** ✓ -O2 | **0.370** ✗ -O3 |"


@pytest.mark.sim
def test_the_tables_of_a_core(models: Path) -> None:
    if not (models / "mlperf-tiny").is_dir() or toolchain.locate("qemu-system-arm") is None:
        pytest.skip("needs the MLPerf Tiny models and qemu-system-arm")
    told = printed("cortex_m.py", "ad", "--cores", "cortex-m4", "--levels", "O2", "--breakdown")
    assert re.search(r"\| brainc \| \*\*0\.\d{3}\*\* . -O2 \|", told)
    assert re.search(r"\| brainc \| \*\*~0\.\d{3}\*\* . -O2 \|", told)
    parts = re.search(r"autoencoder, speed: ([\d,]+) \+ 0 \+ ([\d,]+) \+ ([\d,]+) = ([\d,]+)", told)
    assert parts is not None
    *some, total = (int(part.replace(",", "")) for part in parts.groups())
    assert sum(some) == total and f"**{total:,}**" in told


def needs_simavr() -> None:
    if toolchain.locate("avr-gcc") is None or toolchain.locate("libsimavr") is None:
        pytest.skip("needs avr-gcc and libsimavr")


def test_a_figure_on_the_arduino_says_whether_it_keeps_to_its_goal() -> None:
    assert avr.held(9.2, 9.2, 2) == ("**9.20** ✓", "≤ 9.2")
    assert avr.held(307_201, 307_200, 0) == ("**307,201** ✗", "≤ 307,200")
    assert avr.held(1.5, float("inf"), 1) == ("**1.5**", "-")
    assert avr.peer("a", "b", avr.Figures(1000, 2049, 20)).endswith("| 1,000 | 2,049 (does not fit) | 20 | - |")


@pytest.mark.sim
def test_layers_and_brains_on_the_arduino(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_simavr()
    monkeypatch.setattr(avr, "LAYERS", avr.LAYERS[:1])
    monkeypatch.delenv("BRAINC_MODELS", raising=False)
    monkeypatch.setattr(avr, "brains", lambda: [row for row in REAL_BRAINS() if row.title == "digits"])
    assert re.search(
        r"\| dense 64x64, int8 to sums \| uno \| [\d,]+ \| \*\*\d+\.\d\d\*\* ✓ \|", "\n".join(avr.layer_rows())
    )
    assert re.search(r"\| digits \| uno \| \*\*[\d,]+\*\* . \| ≤ 307,200 \|", "\n".join(avr.brain_rows()))


@pytest.mark.sim
def test_the_same_perceptron_is_cheaper_by_brainc_and_as_good(tmp_path: Path) -> None:
    needs_simavr()
    data = avr_peers.split(4)
    model = avr_peers.network(data, 8)
    path, truth = avr_peers.as_onnx(model, tmp_path / "mlp.onnx"), model.score(data.test_x, data.test_y)
    ours = [avr_peers.by_brainc(path, data, io) for io in ("native", "int8")]
    assert all(abs(found.accuracy - truth) <= 0.005 and found.fits for found in ours)
    assert ours[1].cycles < ours[0].cycles < 119_442  # emlearn's in November 2026, and its RAM
    assert ours[1].ram < ours[0].ram < 1182
    if importlib.util.find_spec("emlearn") is not None:
        theirs = avr_peers.by_emlearn(model, data)
        assert abs(theirs.accuracy - truth) <= 0.005  # the harness is fair to it
        assert theirs.cycles > 5 * ours[0].cycles and theirs.ram > 5 * ours[0].ram


def test_samples_are_spread_over_the_set(models: Path) -> None:
    folder = models / "mlperf-tiny"
    if not (folder / "data").is_dir():
        pytest.skip("the labelled sets are not among the models")
    with np.load(folder / "data" / "vww01.npz") as data:
        x, y = tiny.labelled(folder, "vww", 10)
        assert x.shape == (10, 1, 96, 96, 3) and x.dtype == np.int8 and set(y) == {0, 1}
        assert (x[0, 0].astype(int) + 128 == data["x"][0]).all() and (x[-1, 0].astype(int) + 128 == data["x"][-1]).all()
    with np.load(folder / "data" / "ad01.npz") as data:
        x, y = tiny.labelled(folder, "ad", 2)
        assert x.shape == (2, 7, 640) and len(y) == 2
        assert (x[1] == quantised(windows(data["x"][-1]), AD_SCALE, AD_ZERO)[::28]).all()


def test_the_proof_counts_what_differs(models: Path) -> None:
    """On this machine: from a .tflite file nothing may differ, from an ONNX twin (single rounding) something may."""
    pytest.importorskip("tflite_micro")
    folder = models / "mlperf-tiny"
    if not (folder / "data").is_dir():
        pytest.skip("the labelled sets are not among the models")
    told = printed("proof.py", "kws", "--targets", "c99", "--samples", "10").splitlines()[-1]
    wrong = re.search(r"10 samples, 10 inputs \| (\d+) of 120 \| top1 (\S+) \| (\S+) \|", told)
    assert wrong is not None and abs(float(wrong[2]) - float(wrong[3])) <= 0.1
    if tiny.source(folder, "kws").suffix == ".tflite":
        assert wrong[1] == "0" and wrong[2] == wrong[3]
