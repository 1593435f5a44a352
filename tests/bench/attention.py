"""What looking back costs a language model: attention alone, on this machine, one thread.

    python tests/bench/attention.py [SHAPE ...] [--cache 16] [--target x86-avx2] [--accent vnni]
        [--cc gcc]

For the shapes of known models and both caches: milliseconds a token, all layers together (each has caches of its own),
when the token stands at a depth, and when it is one of 64 of a prompt that begin there. Before each layer others' bytes
are read, as a model's weights are, so that caches are cold. Beside it what the bytes alone would take at the bandwidth
measured in the same run. Every layer's median counts; compare figures of one run.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
from kernel_rig import one_node

from brainc import memory, ops
from brainc.dtypes import F32, I32, DType
from brainc.emit import render_kernel
from brainc.expressions import evaluate
from brainc.frontends.gguf.decoder import KINDS
from brainc.ir import Entry, Graph, attrs
from brainc.kernels import KernelTable
from brainc.ops import Array
from brainc.program import Program
from brainc.resources import templates_dir
from brainc.target import Accent, Target, load_target
from brainc.views import Viewer
from brainc.weights import c_float

DEPTHS = (0, 512, 2048)
LENGTH = DEPTHS[-1] + 64
PROMPT = 64
WEIGHTS = 96 << 20  # bytes that are read between tokens, so that no cache holds what attention reads
FLAGS = ("-std=gnu99", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
HELP = r"""
#include <time.h>
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Reads n numbers, at four places in turn. */
uint64_t stream(const uint64_t *x, int64_t n)
{
    const uint64_t *const parts[4] = {x, x + n / 4, x + n / 4 * 2, x + n / 4 * 3};
    uint64_t sums[8] = {0};
    for (int64_t i = 0; i + 8 <= n / 4; i += 8) {
        for (int part = 0; part < 4; part++) {
            for (int j = 0; j < 8; j++) {
                sums[j] ^= parts[part][i + j];
            }
        }
    }
    return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}
"""
LOOK = """
void look_%(rows)s(const float *q, const %(keys)s *k, const %(values)s *v, const int32_t *pos, float *y,
             uint8_t *scratch, const uint64_t *weights, double *spent)
{
    for (int64_t layer = 0; layer < %(layers)s; layer++) {
        volatile uint64_t other = stream(weights + layer * %(share)s, %(share)s);
        (void)other;
        const double start = now();
        %(call)s;
        spent[layer] = now() - start;
    }
}
"""


@dataclass(frozen=True)
class Shape:
    """The attention of a model: `size` numbers a head."""

    layers: int
    heads: int
    groups: int
    size: int
    window: int = 0

    def units(self, kind: DType) -> tuple[int, int, int]:
        """Of one of a layer's two caches."""
        return self.groups, LENGTH // 16, self.size * 16 // kind.block

    def row(self, kind: DType) -> int:
        """Bytes that a layer keeps of a token in one of its two caches."""
        return self.groups * self.size * kind.nbytes // kind.block

    def seen(self, depth: int) -> int:
        return min(depth + 1, self.window) if self.window else depth + 1


SHAPES = {"smollm2-135m": Shape(30, 9, 3, 64), "gemma3-270m": Shape(18, 4, 1, 256, 512)}


def function(
    target: Target, accent: Accent | None, shape: Shape, kinds: tuple[DType, DType], rows: int
) -> tuple[str, int]:
    """C of `look_ROWS`, which does all layers and keeps the time of each, and the bytes of its scratch."""
    caches = [np.zeros(shape.units(kind), kind.numpy) for kind in kinds]
    q = np.zeros((rows, shape.heads * shape.size), F32.numpy)
    given = attrs(heads=shape.heads, scale=shape.size**-0.5, window=shape.window)
    node, values = one_node(ops.get("attend"), [q, *caches, np.zeros(1, I32.numpy)], given)
    graph = Graph("bench", {v.name: v for v in values}, (Entry("step", (), (), (node,)),))
    choice = KernelTable(target, accent=accent).choose(graph, node)
    viewer = Viewer(Program(graph, target, {node.name: choice}, memory.Plan(0, 0, 0, True, 1, (), {})))
    name, views = viewer.function(node, choice), list(viewer.functions.values())
    said = {"first": 0, "end": evaluate(choice.kernel.split or "1", choice.env), **choice.env}
    said |= {operand: f"{operand} + layer * {caches[0].size}" for operand in "kv"}
    words = []
    for parameter in views[-1].params.split(","):
        value = said.get(arg := re.split(r"\W+", parameter)[-1], arg)
        words.append(c_float(value) if isinstance(value, float) else str(value))
    facts = {"rows": rows, "layers": shape.layers, "share": WEIGHTS // 8 // shape.layers}
    facts |= {"keys": kinds[0].c, "values": kinds[1].c}
    facts |= {"call": f"{name}({', '.join(words)})"}
    text = "\n".join(map(render_kernel, views)) + LOOK % facts
    return re.sub(rf"\b({'|'.join(v.fn for v in views)})", rf"of_{rows}_\1", text), choice.scratch


def best(call: Callable[[], object], seconds: float = 0.4) -> float:
    """Milliseconds of the quickest of many calls."""
    call()
    found, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - start)
    return found * 1e3


def typical(call: Callable[..., object], places: list[ctypes.c_void_p], layers: int, seconds: float = 1.0) -> float:
    """Milliseconds of all layers, each at its median."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        spent = np.zeros(layers)
        call(*places, pointer(spent))
        times.append(spent)
    return float(np.median(times, axis=0).sum())


def compiled(target: Target, text: str, cc: str, folder: str) -> ctypes.CDLL:
    """The text, behind what every brain begins with, as a library."""
    heads = [target.find("port.h"), target.find("primitives.h")]
    heads += [templates_dir() / name for name in ("fixed.h", "float.h", "lanes.h")]
    source, library = Path(folder) / "bench.c", Path(folder) / "bench.so"
    source.write_text("\n".join(h.read_text(encoding="utf-8") for h in heads if h) + text)
    subprocess.run([cc, *FLAGS, source, "-o", library, "-lm"], check=True)
    return ctypes.CDLL(str(library))


def filled(nbytes: int, kind: DType) -> Array:
    """A cache of plausible numbers."""
    rng = np.random.default_rng(0)
    some, most = np.zeros(256, kind.numpy), 127 if kind in KINDS[8] else 8191
    some["d"] = rng.uniform(0.5, 3, some["d"].shape) / most
    some["q"] = rng.integers(-most, most + 1, some["q"].shape)
    return aligned(np.resize(some.view(np.uint8), nbytes))


def aligned(x: Array) -> Array:
    """The same where a line of the processor's caches begins, as states do in a brain."""
    room = np.zeros(x.nbytes + 64, np.uint8)
    found = room[-room.ctypes.data % 64 :][: x.nbytes].view(x.dtype).reshape(x.shape)
    found[...] = x
    return found


def pointer(x: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.ctypes.data)


def bandwidth(library: ctypes.CDLL) -> float:
    """Bytes a millisecond that one thread reads of 256 MiB."""
    big = np.ones(1 << 25, np.uint64)
    return big.nbytes / best(lambda: library.stream(pointer(big), ctypes.c_int64(big.size)))


def named(target: Target, accent: str | None) -> Accent | None:
    """The target's accent of that name; none: what all its machines have."""
    known = {a.name: a for a in target.accents}
    if accent and accent not in known:
        sys.exit(f"{target.name} has no accent {accent}; it has {', '.join(known) or 'none'}")
    return known[accent] if accent else None


def measure(target: Target, accent: Accent | None, cc: str, name: str, bits: int) -> None:
    """Prints the table of one shape and one cache."""
    shape, kinds = SHAPES[name], KINDS[bits]
    texts = [function(target, accent, shape, kinds, rows) for rows in (1, PROMPT)]
    with tempfile.TemporaryDirectory() as folder:
        library = compiled(target, HELP + "".join(t for t, _ in texts), cc, folder)
    q = np.random.default_rng(1).standard_normal((PROMPT, shape.heads * shape.size)).astype(np.float32)
    y, scratch = np.zeros_like(q), aligned(np.zeros(max(s for _, s in texts) + 64, np.uint8))
    caches = [filled(shape.layers * LENGTH * shape.row(kind), kind) for kind in kinds]
    weights = np.ones(WEIGHTS // 8, np.uint64)
    speed, first = bandwidth(library), 0.0
    kernels = accent.name if accent else target.name
    print(f"{name}, a cache of {bits} bits, {kernels}; one thread reads {speed / 1e6:.1f} GB/s")
    print("  depth   decode   over depth 0   its bytes alone   a token of 64")
    for depth in DEPTHS:
        pos = np.array([depth], np.int32)
        places = [pointer(x) for x in (q, *caches, pos, y, scratch, weights)]
        one = typical(library.look_1, places, shape.layers)
        many = typical(library.look_64, places, shape.layers) / PROMPT
        first = first or one
        alone = 2 * shape.layers * shape.seen(depth) * shape.row(kinds[0]) / speed
        print(f"  {depth:5}  {one:7.3f}  {one - first:13.3f}  {alone:16.3f}  {many:14.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Milliseconds a token that attention takes.")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--target", default="x86-avx2")
    parser.add_argument("--accent", help="of the target's, the one to measure")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--cache", choices=[*KINDS], type=int, nargs="*", default=[*KINDS])
    given = parser.parse_args()
    target = load_target(given.target)
    accent = named(target, given.accent)
    for name in given.shapes or SHAPES:
        for bits in given.cache:
            measure(target, accent, given.cc, name, bits)


if __name__ == "__main__":
    main()
