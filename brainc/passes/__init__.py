"""The way of a graph from a model file's words to integers: every pass, in order.

Knocks: the compiler, with a graph and a `Context`. Leaves: the graph at the stage asked for.

A pass is a function (Graph, Context) -> Graph that returns the same object if it had nothing to do. It
may rely on the clauses of its stage in `spec.py`, which are checked after each one, and on nothing else:
the canonical passes go round until none of them changes anything, so their order does not matter.

    BRAINC_DEBUG=1     a line a pass: what it took, how many nodes it left; =2 also the graph after it
    BRAINC_DUMP=DIR    the graph after each pass, as DIR/NN_pass.txt
    BRAINC_CHECK=1     runs the graph before and after each pass and names the one that changed the answer
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from brainc import spec
from brainc.errors import BugError
from brainc.ir import Graph, Stage
from brainc.passes.activations import name_activations
from brainc.passes.agree import check_agreement
from brainc.passes.canonical import fuse_affine, fuse_clamp, settle_forms
from brainc.passes.context import Context, Options
from brainc.passes.equalise import equalise
from brainc.passes.flash import load_constants
from brainc.passes.fold import fold_constants, fold_qdq
from brainc.passes.integer import lower_to_integers
from brainc.passes.layout import to_rows
from brainc.passes.legalize import copy_for_views, drop_dead, legalize
from brainc.passes.ports import port_layout, port_types
from brainc.passes.quantize import assign_types
from brainc.passes.signs import u8_to_i8
from brainc.passes.widths import prove_widths

__all__ = ["PIPELINE", "Context", "Options", "Pass", "Watch", "run"]

Pass = Callable[[Graph, Context], Graph]
Watch = Callable[[str, Graph, Graph], None]  # (pass, before, after)

PIPELINE: tuple[tuple[Stage, tuple[Pass, ...]], ...] = (
    (
        Stage.CANONICAL,
        (
            fold_constants,
            port_layout,
            to_rows,
            fuse_affine,
            fuse_clamp,
            name_activations,
            fold_qdq,
            u8_to_i8,
            settle_forms,
        ),
    ),
    (Stage.QUANTIZED, (equalise, assign_types, port_types)),
    (Stage.INTEGER, (lower_to_integers, prove_widths)),
    (Stage.READY, (drop_dead, copy_for_views, load_constants, legalize)),
)
ROUNDS = 20  # a chain of canonical passes that needs more chases its own tail


def run(graph: Graph, context: Context, *, until: Stage = Stage.READY, watch: Watch | None = None) -> Graph:
    """`graph` brought to stage `until`. BugError naming the pass that broke its stage's rules."""
    hooks = [*_hooks(context), *([watch] if watch else [])]
    for stage, passes in PIPELINE:
        if graph.stage < stage <= until:
            graph = _to_stage(graph, context, stage, passes, hooks)
    return graph


def _to_stage(
    graph: Graph, context: Context, stage: Stage, passes: tuple[Pass, ...], hooks: list[Watch]
) -> Graph:
    rounds = ROUNDS if stage is Stage.CANONICAL else 1
    for _ in range(rounds):
        before = graph
        for one in passes:
            graph = _step(graph, context, one, hooks)
        if graph is before:
            break
    else:
        if rounds > 1:
            raise BugError(f"the passes to {stage.name} do not come to rest", fix="please report this")
    _verified(graph.at(stage), f"the passes to {stage.name}", context)
    return graph.at(stage)


def _step(graph: Graph, context: Context, one: Pass, hooks: list[Watch]) -> Graph:
    after = one(graph, context)
    if after is not graph:
        _verified(after, f"pass {one.__name__}", context)
    for hook in hooks:
        hook(one.__name__, graph, after)
    return after


def _verified(graph: Graph, culprit: str, context: Context) -> None:
    try:
        spec.verify(graph, has_kernel=context.has_kernel)
    except BugError as error:
        raise BugError(f"{culprit} broke the graph: {error.what}", fix=error.fix) from error


def _hooks(context: Context) -> Iterator[Watch]:
    """What the environment asks for."""
    level = os.environ.get("BRAINC_DEBUG", "0")
    if level != "0":
        yield _summary(verbose=level >= "2")
    if folder := os.environ.get("BRAINC_DUMP"):
        yield _dump(Path(folder))
    if os.environ.get("BRAINC_CHECK", "0") != "0":
        yield lambda name, before, after: check_agreement(name, before, after, context)


def _summary(*, verbose: bool) -> Watch:
    last = time.perf_counter()

    def line(name: str, before: Graph, after: Graph) -> None:
        nonlocal last
        now = time.perf_counter()
        count = sum(1 for _ in after.nodes())
        kept = " (unchanged)" if after is before else ""
        print(f"{name:20} {1000 * (now - last):7.1f} ms {count:5} nodes{kept}", file=sys.stderr)
        if verbose and after is not before:
            print(after.text(), file=sys.stderr)
        last = time.perf_counter()

    return line


def _dump(folder: Path) -> Watch:
    number = 0

    def write(name: str, before: Graph, after: Graph) -> None:
        nonlocal number
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02}_{name}.txt").write_text(after.text(), encoding="utf-8")
        number += 1

    return write
