"""What a target's own kernels gain over plain C, on the same core, with the same compiler and flags.

    python tests/bench/primitives.py [MODEL_OR_BRAIN …]

Counts are exact: cycles from simavr on the Uno, instructions from QEMU and callgrind elsewhere. Without
arguments: the digits example, and the KWS network where BRAINC_MODELS says where it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from brainc import bench, samples
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.errors import BraincError
from brainc.resources import examples_dir

MACHINES = ("uno", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
MACHINES += ("x86-avx2",)


def cost(source: Path, target: str, portable: bool) -> tuple[int, str]:
    """(count, unit) of one step, the maximum over five random inputs."""
    request = Request(source, quantize=None if source.suffix else "int8", io="int8", portable=portable)
    program = compile_job(prepare(request, target))
    figures = bench.measure(program, samples.random(ports(program.graph), 5, 1).arrays)
    entry = next(iter(figures["entries"].values()))
    unit = "cycles" if entry["cycles"] is not None else "instructions"
    return entry[unit], unit


def main() -> None:
    models = os.environ.get("BRAINC_MODELS")
    given = [Path(a) for a in sys.argv[1:]]
    known = [Path(models) / "mlperf-tiny/onnx/kws_dscnn_int8.onnx"] if models else []
    print(f"{'brain':18} {'target':14} {'plain C':>14} {'own kernels':>14}  ratio")
    for source in given or [examples_dir() / "digits", *known]:
        for target in MACHINES:
            try:
                plain, unit = cost(source, target, portable=True)
                own, _ = cost(source, target, portable=False)
            except BraincError as error:
                print(f"{source.stem:18} {target:14} {str(error).splitlines()[0]}")
                continue
            print(f"{source.stem:18} {target:14} {plain:14,} {own:14,}  {own / plain:5.2f}  {unit}")


if __name__ == "__main__":
    main()
