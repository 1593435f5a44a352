"""Matrix products of language models: how near to the memory's pace with one row of x, how fast with 64.

    python tests/bench/matmul.py [--seconds 0.5] [--cc gcc] [--only avx2]

For each accent and type of weights: GB/s of weights read (M = 1, out of cache), GMAC/s (M = 64), and the tokens per
second that SmolLM2-135M's products alone would allow (its body in blocks of that type, its head in w8; where 256
columns share scales the body is that much wider, by a quarter). Above them the pace at which this machine copies and
reads memory, in the same run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
from kernel_rig import Bound, Job, call, headers, one_node, rig_of

from brainc import ops
from brainc.dtypes import DTYPES, Array
from brainc.ir import Entry, Graph, attrs
from brainc.kernels import KernelTable
from brainc.ops._blocks import activations, blocks
from brainc.packs.tiles import tiles
from brainc.target import load_target
from brainc.weights import as_text

TYPES = ("w4", "w4m", "w5", "w5m", "w8", "w4k", "w5k", "w6k")
CHECKS = {"avx2": "avx2", "vnni": "avx512vnni"}
ROWS = (1, 64)
SAMPLE = (64, 768)  # numbers of a matrix whose tiles fill the memory


def bound(table: KernelTable, kind: str, rows: int) -> Iterator[Bound]:
    """dense8 on such weights, once for each kernel that fits."""
    op, rng = ops.get("dense8"), np.random.default_rng(0)
    node, values = one_node(op, [activations(rng, (rows, 256)), blocks(rng, (8, 256), DTYPES[kind])], attrs())
    graph = Graph("case", {v.name: v for v in values}, (Entry("step", (), (), (node,)),))
    for verdict in table.explain(graph, node):
        if not verdict.failed:
            yield node, KernelTable(table.target, {node.name: verdict.kernel.name}).choose(graph, node), values


def wrapper(name: str, job: Job) -> str:
    """The job's kernel on any sizes."""
    split = job.kernel.split.replace("//", "/") or "1"
    sizes = {"N": "N", "B": "B"}
    sized = replace(job, choice=replace(job.choice, env={**job.choice.env, **sizes}))
    statement = call(sized, ["x", "w", "y", "scratch"], shares=("0", split))
    head = f"static void {name}(const br_a8_t *x, const uint8_t *w, float *y, br_len N, br_len B, uint8_t *scratch)"
    return f"{head}\n{{\n    (void)scratch;\n    {statement};\n}}\n"


def array(ctype: str, name: str, values: Array) -> str:
    return f"static const {ctype} {name}[{values.size}] = {{\n" + "\n".join(as_text(values)) + "\n};\n"


def products(only: str) -> str:
    """The header that matmul.c includes: kernels, a table of them, and samples of what they read."""
    target = load_target("x86-avx2")
    target = replace(target, features=target.features | set(CHECKS.values()))
    table, rng = KernelTable(target), np.random.default_rng(0)
    rig = rig_of(table, [b for kind in TYPES for rows in ROWS for b in bound(table, kind, rows)])
    texts, rows = [headers(target), *rig.functions.values()], []
    for flag in sorted(set(CHECKS.values())):
        texts.append(f'static int has_{flag}(void)\n{{\n    return __builtin_cpu_supports("{flag}");\n}}\n')
    texts.append("typedef void (*product_fn)(const br_a8_t *, const uint8_t *, float *, br_len, br_len, uint8_t *);")
    texts.append("typedef struct {\n    const char *accent, *type;\n    int (*there)(void);\n    product_fn one, many;")
    texts.append("    size_t tile, bytes;\n    int shared;\n    const uint8_t *sample;\n} product;\n")
    for kind in TYPES:
        sample = tiles(blocks(rng, SAMPLE, DTYPES[kind]), {})
        texts.append(array("uint8_t", f"sample_{kind}", sample))
        for job in (j for j in rig.jobs if j.kernel.ins[1] == kind):
            accent = job.kernel.stem.partition("_")[0] if job.kernel.name.startswith("x86") else "portable"
            m = "one" if job.choice.env["M"] == 1 else "many"
            if only in accent:
                texts.append(wrapper(f"{accent}_{kind}_{m}", job))
                check = f"has_{CHECKS[accent]}" if accent in CHECKS else "NULL"
                size = sample.size // (SAMPLE[0] // 8 * SAMPLE[1] // 32)
                shared = DTYPES[kind].block // 32
                fns = f"{accent}_{kind}_one, {accent}_{kind}_many"
                facts = f"{check}, {fns}, {size}, {sample.size}, {shared}, sample_{kind}"
                rows.append(f'    {{"{accent}", "{kind}", {facts}}},')
    texts.append("static const product products[] = {\n" + "\n".join(dict.fromkeys(rows)) + "\n};\n")
    raw = activations(rng, (1, 64 * 32)).view(np.uint8).reshape(-1)
    texts.append(array("uint8_t", "raw_activations", raw))
    texts.append("#define activations ((const br_a8_t *)(const void *)raw_activations)\n")
    return "\n".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--only", default="", help="accents with this in their name")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "products.h").write_text(products(given.only))
        flags = ["-std=gnu99", "-O3", "-ffp-contract=off", f"-I{folder}"]
        source, program = Path(__file__).with_suffix(".c"), Path(folder) / "matmul"
        subprocess.run([given.cc, *flags, "-o", str(program), str(source), "-lm"], check=True)
        subprocess.run([str(program), str(given.seconds)], check=True)


if __name__ == "__main__":
    main()
