"""The same bytes as TensorFlow Lite Micro on real samples, and the accuracy they give: one line a target.

    BRAINC_MODELS=… python tests/bench/proof.py [ic kws vww ad] [--targets cortex-m4 …] [--samples 200]

The truth is TFLite Micro's reference kernels in Python (the package `tflite-micro`). Every target runs the
compiled C with its own kernels, with these in plain C (BR_PLAIN_C), and with the portable ones. A sample of the
autoencoder is a recording, of which every 28th window is taken; `--samples 0` takes the whole sets and all windows.
`--golden` takes the vectors in `golden` beside BRAINC_MODELS instead, and the inputs of softmax too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from tiny import NETWORKS, Array, folder, labelled, source, tflite

from brainc import check, interp, quality, runners
from brainc.compiler import Request, compile_job, prepare
from brainc.ir import Graph, Role
from brainc.program import Program

TARGETS = ("c99", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
ACCENTS = ("own", "plain", "portable")
BATCH = 100  # inputs of one simulator run
TIMEOUT = 1800.0


def truth(model: Path, inputs: Array) -> Array:
    """TFLite Micro's answers, one row an input."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(str(model))
    rows = []
    for x in inputs:
        interpreter.set_input(x[None], 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).reshape(-1))
    return np.stack(rows)


def compiled(file: Path, target: str, accent: str, *, logits: bool = False) -> Program:
    """The network for a target in one of its accents; up to what a softmax at its end reads, if that is asked for."""
    job = prepare(Request(file, portable=accent == "portable"), target)
    program = compile_job(replace(job, graph=before_softmax(job.graph)) if logits else job)
    if accent != "plain":
        return program
    tools = program.target.toolchain
    plain = replace(program.target, toolchain=replace(tools, flags=(*tools.flags, "-DBR_PLAIN_C")))
    return replace(program, target=plain)


def before_softmax(graph: Graph) -> Graph:
    """The graph whose output is what its last softmax reads; itself if it ends in none."""
    (entry,) = graph.entries
    last = entry.nodes[-1]
    if not last.op.endswith("softmax"):
        return graph
    port = last.inputs[0]
    values = {**graph.values, port: replace(graph.values[port], role=Role.OUTPUT)}
    return graph.replaced(values=values, entries=(replace(entry, outputs=(port,), nodes=entry.nodes[:-1]),))


def golden_lines(models: Path, task: str, targets: list[str], accents: list[str]) -> Iterator[str]:
    """The same for the golden vectors: of the outputs, then of what a softmax reads."""
    vectors = np.load(models.parents[1] / "golden" / f"{NETWORKS[task].golden}.npz")
    inputs = vectors["x"].reshape(len(vectors["x"]), -1)
    for key in ("y", "y_logits"):
        want = vectors[key].reshape(len(inputs), -1)
        for target in targets:
            for accent in accents if target != "c99" else ["portable"]:
                start = time.perf_counter()
                got = answers(compiled(source(models, task), target, accent, logits=key == "y_logits"), inputs)
                wrong = f"{int((got != want).sum()):,} of {want.size:,}"
                seconds = f"{time.perf_counter() - start:.0f} s"
                yield f"| {NETWORKS[task].title} | {target} | {accent} | golden {key} | {wrong} | | | {seconds} |"


def answers(program: Program, inputs: Array) -> Array:
    """What the compiled C answers, one row an input."""
    graph = program.graph
    (port,), (out,) = graph.entries[0].inputs, graph.entries[0].outputs
    with tempfile.TemporaryDirectory(prefix="brainc-") as place:
        built = check.firmware(program, Path(place))
        parts = []
        for start in range(0, len(inputs), BATCH):
            some = {port: inputs[start : start + BATCH].reshape(-1, *graph.type(port).shape)}
            data, count = check.to_bytes(graph, some), check.count_of(some)
            parts.append(runners.run(built, data, count, work=Path(place), timeout=TIMEOUT).outputs)
    return np.frombuffer(b"".join(parts), graph.type(out).dtype.numpy).reshape(len(inputs), -1)


def score(program: Program, task: str, inputs: Array, rows: Array, labels: Array) -> float:
    """The network's metric; the inputs of a sample count together."""
    graph = program.graph
    (port,), (out,) = graph.entries[0].inputs, graph.entries[0].outputs
    given = interp.to_real(inputs, graph.type(port)).reshape(len(labels), -1)
    got = interp.to_real(rows, graph.type(out)).reshape(len(labels), -1)
    return quality.METRICS[NETWORKS[task].metric]({port: given}, {out: got}, labels)


def lines(models: Path, task: str, targets: list[str], accents: list[str], count: int | None) -> Iterator[str]:
    """A row of the table for each target and accent."""
    x, labels = labelled(models, task, count)
    inputs = x.reshape(-1, *x.shape[2:])
    want = truth(tflite(models, task), inputs)
    told = f"{len(labels)} samples, {len(inputs)} inputs"
    for target in targets:
        for accent in accents if target != "c99" else ["portable"]:
            start = time.perf_counter()
            program = compiled(source(models, task), target, accent)
            got = answers(program, inputs)
            wrong = int((got != want).sum())
            metric = f"{NETWORKS[task].metric} {score(program, task, inputs, got, labels):.4f}"
            truly = f"{score(program, task, inputs, want, labels):.4f}"
            seconds = f"{time.perf_counter() - start:.0f} s"
            yield (
                f"| {NETWORKS[task].title} | {target} | {accent} | {told} | {wrong:,} of {want.size:,} "
                f"| {metric} | {truly} | {seconds} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", choices=[[], *NETWORKS], help="default: all four")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--accents", nargs="+", choices=ACCENTS, default=list(ACCENTS))
    parser.add_argument("--samples", type=int, default=200, help="of each set; 0: all of them")
    parser.add_argument("--golden", action="store_true", help="the golden vectors, softmax inputs too")
    given = parser.parse_args()
    models, count = folder(parser), given.samples or None
    print("| network | target | kernels | | bytes that differ | brainc | TFLite Micro | took |")
    print("|---|---|---|---|---|---|---|---|")
    for task in [t for t in NETWORKS if t in given.tasks or not given.tasks]:
        chosen = (models, task, given.targets, given.accents)
        for line in golden_lines(*chosen) if given.golden else lines(*chosen, count):
            print(line, flush=True)


if __name__ == "__main__":
    main()
