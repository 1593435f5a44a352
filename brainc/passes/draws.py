"""Samplers become exact: where logits are int8 behind a door, the draw is made from the integers themselves.

Knocks: a graph whose layers are integers already. Leaves: `qsample` for `sample`.
"""

from __future__ import annotations

from brainc.dtypes import I8, I16
from brainc.errors import UnsupportedError
from brainc.ir import Graph, Node, attrs, const_value
from brainc.ops.qsample import powers_table, sample_multiplier
from brainc.passes.context import Context
from brainc.passes.rewrite import Replacement, View, apply, rule
from brainc.spec import number


def draw_from_integers(graph: Graph, context: Context) -> Graph:
    """Every `sample` on the int8 logits behind it; UnsupportedError where these are floats."""
    return apply(graph, (draw,), context.note)


@rule("sample")
def draw(node: Node, view: View) -> Replacement:
    """sample(from_int(q)) is qsample(q)."""
    logits, *others = node.inputs
    door = view.producer(logits, "from_int")
    if door is None or view.type(door.inputs[0]).dtype is not I8:
        kind = "float" if door is None else str(view.type(door.inputs[0]).dtype)
        raise UnsupportedError(
            f"the logits that {node.name} draws from are {kind}: a sampler takes int8",
            fix='quantise the model: --quantize int8, or quant = { weights = "i8" } for its module',
        )
    powers = const_value(view.fresh(f"{node.name}/powers"), powers_table(), I16, where=node.where)
    given = attrs(mult=sample_multiplier(number(door.attrs["scale"])))
    inputs = (door.inputs[0], powers.name, *others)
    return Replacement((Node(node.name, "qsample", inputs, node.outputs, given, node.where),), (powers,))
