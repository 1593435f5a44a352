"""The README's table of costs, as Markdown: every MLPerf Tiny twin and the digits example, on each core.

    BRAINC_MODELS=… python tests/bench/summary.py

Counts are exact (QEMU and callgrind instructions, simavr cycles); two random inputs each.
"""

from __future__ import annotations

import os
from pathlib import Path

from brainc import bench, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.errors import BraincError
from brainc.resources import examples_dir

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55", "x86-avx2")
TWINS = {
    "KWS DS-CNN": "kws_dscnn_int8",
    "IC ResNet8": "ic_resnet8_int8",
    "VWW MobileNetV1": "vww_mobilenetv1_025_int8",
    "AD autoencoder": "ad01_int8",
    "wake word DS-CNN 1-D": "sww_dscnn1d_int8",
}


def millions(source: Path, core: str) -> tuple[str, str, str]:
    """(cost in millions, bytes of RAM with stack, MACs in millions) of one step."""
    program = compile_job(prepare(Request(source, io="int8"), core))
    figures = bench.measure(program, samples.random(ports(program.graph), 2, 1).arrays)
    entry = next(iter(figures["entries"].values()))
    cost = entry["cycles"] if core in ("uno", "mega") else entry["instructions"]
    total = figures["ram_bytes"]["total"]
    return f"{cost / 1e6:.2f}", f"{total:,}" if total else "", f"{entry['macs'] / 1e6:.2f}"


def main() -> None:
    models = Path(os.environ["BRAINC_MODELS"]) / "mlperf-tiny/onnx"
    print("| network | MACs | arena (least possible) | " + " | ".join(CORES) + " | M4 RAM |")
    print("|---|---|---|" + "---|" * (len(CORES) + 1))
    rows = {title: models / f"{name}.onnx" for title, name in TWINS.items()}
    for title, source in {**rows, "digits (example)": examples_dir() / "digits"}.items():
        plan = compile_job(prepare(Request(source, io="int8"), "c99")).plan
        cells, ram, macs = [], "", ""
        for core in CORES:
            try:
                cost, total, macs = millions(source, core)
            except BraincError as error:
                cost, total = type(error).__name__, ""
            cells.append(cost)
            ram = total if core == "cortex-m4" else ram
        proof = "" if plan.optimal else f" (bound {plan.lower_bound:,})"
        print(f"| {title} | {macs} M | {plan.arena:,} B{proof} | " + " | ".join(cells) + f" | {ram} B |")


if __name__ == "__main__":
    main()
