"""Did a pass change the answer? Both graphs are run on the same inputs and their output ports compared.

Knocks: the pass runner under BRAINC_CHECK=1, and tests. Leaves: nothing, or a BugError naming the pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brainc import interp
from brainc.dtypes import Array
from brainc.errors import BugError
from brainc.ir import Entry, Graph, Stage, TensorType
from brainc.passes.context import Context

RUNS = 3
FLOAT_TOLERANCE = 1e-3  # of the largest magnitude: float sums in another order
STEPS = 2  # of an integer output: a requantisation more or less
CALIBRATED = 0.25  # quantising a float model moves the answer, but not this far


def check_agreement(name: str, before: Graph, after: Graph, context: Context) -> None:
    """BugError if pass `name` changed what the brain answers by more than rounding does."""
    if after is before or context.options.layout != "native" or context.options.io != "native":
        return
    for old, new in zip(before.entries, after.entries, strict=True):
        for inputs in _inputs(before, old, context):
            wants, gots = (interp.outputs(g, old.name, inputs) for g in (before, after))
            for port in old.outputs:
                gap = _gap(wants[port], gots[port], after.type(port))
                if gap > _allowed(after, port):
                    raise BugError(
                        f"pass {name} changed the answer: {new.name}.{port} by {gap:.4g}",
                        fix="BRAINC_DUMP=DIR writes the graph before and after it",
                    )


def _allowed(after: Graph, port: str) -> float:
    if after.type(port).dtype.is_integer:
        return STEPS
    return CALIBRATED if after.stage >= Stage.CANONICAL else FLOAT_TOLERANCE


def _gap(want: Array, got: Array, type_: TensorType) -> float:
    """The largest difference: in steps for integers, relative to the largest value for floats."""
    distance = float(np.max(np.abs(want.astype(np.float64) - got.astype(np.float64)), initial=0.0))
    if type_.dtype.is_integer:
        return distance
    return distance / max(float(np.max(np.abs(want), initial=0.0)), 1e-6)


def _inputs(graph: Graph, entry: Entry, context: Context) -> Iterator[dict[str, Array]]:
    """The first samples that fit the ports, else seeded random ones."""
    samples = context.samples or {}
    ports = {p: graph.type(p) for p in entry.inputs}
    fits = all(
        p in samples and samples[p].dtype == t.dtype.numpy and samples[p][0].size == t.size
        for p, t in ports.items()
    )
    for number in range(RUNS):
        if fits and all(len(samples[p]) > number for p in ports):
            yield {p: samples[p][number].reshape(t.shape) for p, t in ports.items()}
        elif not fits:
            yield interp.random_inputs(graph, entry.name, number)
