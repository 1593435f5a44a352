"""The way of a graph from a model file's words to integers: every pass, in order.

Knocks: the compiler, with a graph and a `Context`. Leaves: the graph at the stage asked for.

A pass is a function (Graph, Context) -> Graph that returns the same object if it had nothing to do. It
may rely on the clauses of its stage in `spec.py`, which are checked after each one, and on nothing else:
the canonical passes go round until none of them changes anything, so their order does not matter.

    BRAINC_DEBUG=1     a line a pass: when it was done, how many nodes it left; =2 also the graph after it
    BRAINC_DUMP=DIR    the graph after each pass, as DIR/NN_pass.txt
    BRAINC_WITHOUT=A,B leaves these passes out
    BRAINC_CHECK=1     runs the graph before and after each pass and names the one that changed the answer
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from brainc import interp, spec
from brainc.errors import BugError
from brainc.ir import Graph, Stage
from brainc.passes import batch
from brainc.passes.blends import name_blends
from brainc.passes.canonical import fuse_affine, fuse_clamp, name_activations, settle_forms
from brainc.passes.channels import drop_channels
from brainc.passes.context import Context, Options
from brainc.passes.draws import draw_from_integers
from brainc.passes.equalise import equalise
from brainc.passes.fold import fold_constants, fold_qdq
from brainc.passes.integer import lower_to_integers
from brainc.passes.layout import to_rows
from brainc.passes.legalize import copy_for_views, drop_dead, legalize, load_constants, share_constants
from brainc.passes.ports import port_layout, port_types, u8_to_i8
from brainc.passes.quantize import assign_types
from brainc.passes.registers import shift_registers
from brainc.passes.residual import fuse_residual
from brainc.passes.widths import prove_widths

__all__ = ["PIPELINE", "Context", "Options", "Pass", "Watch", "run"]

Pass = Callable[[Graph, Context], Graph]
Watch = Callable[[str, Graph, Graph], None]  # (pass, before, after)

CANONICAL: tuple[Pass, ...] = (
    *(fold_constants, port_layout, to_rows, fuse_affine, fuse_clamp, name_activations, name_blends),
    *(fold_qdq, u8_to_i8, settle_forms),
)
READY: tuple[Pass, ...] = (
    *(drop_dead, share_constants, fuse_residual, shift_registers),
    *(copy_for_views, load_constants, legalize),
)
PIPELINE: tuple[tuple[Stage, tuple[Pass, ...]], ...] = (
    (Stage.CANONICAL, CANONICAL),
    (Stage.QUANTIZED, (equalise, assign_types, port_types)),
    (Stage.INTEGER, (lower_to_integers, draw_from_integers, drop_channels, prove_widths)),
    (
        Stage.READY,
        (drop_dead, share_constants, fuse_residual, shift_registers, copy_for_views, load_constants, legalize),
    ),
)
ROUNDS = 20  # a chain of canonical passes that needs more chases its own tail

# what BRAINC_CHECK lets pass
RUNS = 3
FLOAT_TOLERANCE = 1e-3  # of the largest magnitude: float sums in another order
STEPS = 2  # of an integer output: a requantisation more or less
CALIBRATED = 0.25  # quantising a float model moves the answer, but not this far


def run(graph: Graph, context: Context, *, until: Stage = Stage.READY, watch: Watch | None = None) -> Graph:
    """`graph` brought to stage `until`. BugError naming the pass that broke its stage's rules."""
    hooks = [*_hooks(context), *([watch] if watch else [])]
    without = context.options.without | set(os.environ.get("BRAINC_WITHOUT", "").split(","))
    for stage, every in PIPELINE:
        passes = [one for one in every if one.__name__ not in without]
        if graph.stage < stage <= until:
            for _ in range(ROUNDS):
                before = graph
                for one in passes:
                    graph = _step(graph, context, one, hooks)
                if graph is before or stage is not Stage.CANONICAL:
                    break
            else:
                raise BugError(f"the passes to {stage.name} do not come to rest", fix="please report this")
            graph = _verified(graph.at(stage), f"the passes to {stage.name}", context)
    return graph


def _step(graph: Graph, context: Context, one: Pass, hooks: Sequence[Watch]) -> Graph:
    after = one(graph, context)
    if after is not graph:
        _verified(after, f"pass {one.__name__}", context)
    for hook in hooks:
        hook(one.__name__, graph, after)
    return after


def _verified(graph: Graph, culprit: str, context: Context) -> Graph:
    try:
        spec.verify(graph, has_kernel=context.has_kernel)
    except BugError as error:
        raise BugError(f"{culprit} broke the graph: {error.what}", fix=error.fix) from error
    return graph


def _hooks(context: Context) -> list[Watch]:
    """What the environment asks for."""
    level, folder, number = os.environ.get("BRAINC_DEBUG", "0"), os.environ.get("BRAINC_DUMP"), count()
    start = time.perf_counter()

    def line(name: str, before: Graph, after: Graph) -> None:
        kept = " (unchanged)" if after is before else ""
        nodes, spent = sum(1 for _ in after.nodes()), 1000 * (time.perf_counter() - start)
        print(f"{name:20} {spent:7.1f} ms {nodes:5} nodes{kept}", file=sys.stderr)
        if level >= "2" and not kept:
            print(after.text(), file=sys.stderr)

    def dump(name: str, before: Graph, after: Graph) -> None:
        Path(str(folder)).mkdir(parents=True, exist_ok=True)
        Path(str(folder), f"{next(number):02}_{name}.txt").write_text(after.text(), encoding="utf-8")

    def check(name: str, before: Graph, after: Graph) -> None:
        native = (context.options.layout, context.options.io) == ("native", "native")
        if after is not before and native:
            _agree(name, before, after, context)

    asked = ((line, level != "0"), (dump, folder), (check, os.environ.get("BRAINC_CHECK", "0") != "0"))
    return [hook for hook, wanted in asked if wanted]


def _chance(graph: Graph) -> set[str]:
    """The values that hang on what a sampler drew, in this call or before: a step more or less, another draw."""
    found: set[str] = set()
    size = -1
    while size != len(found):
        size = len(found)
        for node in graph.nodes():
            if node.op in ("sample", "qsample") or not found.isdisjoint(node.operands):
                found.update(node.outputs or node.inputs[:1])  # or the state that it changes
    return found


def _agree(name: str, before: Graph, after: Graph, context: Context) -> None:
    """BugError if pass `name` changed what the brain answers by more than rounding does."""
    for entry in before.entries:
        samples = batch.samples_of(before, entry, context.samples) if context.samples else {}
        chance = _chance(before)
        sides = [(graph, interp.fresh_state(graph)) for graph in (before, after)]  # which goes on from run to run
        for seed in range(RUNS):
            inputs = {port: array[seed % len(array)] for port, array in samples.items()}
            inputs = inputs or interp.random_inputs(before, entry.name, seed)
            wants, gots = (interp.run(graph, entry.name, inputs, state) for graph, state in sides)
            for port in (p for p in entry.outputs if p not in chance):
                want, got = wants[port].astype(np.float64), gots[port].astype(np.float64)
                gap = float(np.max(np.abs(want - got), initial=0.0))
                allowed = CALIBRATED if after.stage >= Stage.CANONICAL else FLOAT_TOLERANCE
                if after.type(port).dtype.is_integer:
                    allowed = STEPS
                else:
                    gap /= max(float(np.max(np.abs(want), initial=0.0)), 1e-6)
                if gap > allowed:
                    what = f"pass {name} changed the answer: {entry.name}.{port} by {gap:.4g}"
                    raise BugError(what, fix="BRAINC_DUMP=DIR writes the graph before and after it")
