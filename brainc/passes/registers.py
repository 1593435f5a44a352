"""Windows over time are kept whole, where a model keeps all but the newest.

Knocks: the pipeline, with an INTEGER graph on its way to READY. Leaves: a graph in which what streaming layers do,

    c = concat(state, x);  …reads c…;  assign(state, the last of c)

is `push(state, x)` and reads of the state, which is as long as c: neither c nor its last part is ever built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from brainc.ir import Const, Graph, Node, Role, Value
from brainc.ops import ints
from brainc.passes.context import Context
from brainc.passes.rewrite import renamed
from brainc.spec import number


def shift_registers(graph: Graph, context: Context) -> Graph:
    """Every state that is a sliding window of more than comes at once takes its newest part in."""
    values, entries, found = dict(graph.values), [], 0
    users, makers = graph.consumers(), graph.producers()
    for entry in graph.entries:
        nodes = list(entry.nodes)
        for join in entry.nodes:
            last = _window(graph, join, users, makers)
            if last is None or join.outputs[0] in entry.outputs:
                continue
            (state, x), (whole,), found = join.inputs, join.outputs, found + 1
            values[state] = _grown(values[state], values[x], values[whole])
            put = Node(join.name, "push", (state, x), (), where=join.where)
            gone = {node.name for node in last}
            nodes = [put if n.name == join.name else renamed(n, {whole: state}) for n in nodes if n.name not in gone]
        entries.append(replace(entry, nodes=tuple(nodes)))
    if not found:
        return graph
    context.note(f"{found} windows over time are kept whole")
    return graph.replaced(values=values, entries=tuple(entries))


def _window(
    graph: Graph, join: Node, users: Mapping[str, list[Node]], makers: Mapping[str, Node]
) -> tuple[Node, Node] | None:
    """The nodes that keep the last of what `join` joins: (slice, assign); None if it is no sliding window."""
    if join.op != "concat" or len(join.inputs) != 2:
        return None
    (state, x), axis = join.inputs, int(number(join.attrs["axis"]))
    old, new = graph.type(state), graph.type(x)
    kept = [n for n in users[state] if n.op == "assign" and n.inputs[0] == state]
    alone = graph.values[state].role is Role.STATE and len(users[state]) == 2 and len(kept) == 1
    if not alone or prod(old.shape[:axis]) > 1 or new.size > old.size or kept[0].inputs[1] not in makers:
        return None
    cut = makers[kept[0].inputs[1]]
    if cut.op != "slice" or cut.inputs != join.outputs or len(users[cut.outputs[0]]) > 1:
        return None
    starts = tuple(new.shape[axis] if i == axis else 0 for i in range(len(old.shape)))
    last = (ints(cut.attrs["starts"]), ints(cut.attrs["sizes"]), set(ints(cut.attrs["steps"])))
    at_port = graph.values[cut.outputs[0]].role is Role.OUTPUT
    return None if at_port or last != (starts, old.shape, {1}) else (cut, kept[0])


def _grown(state: Value, x: Value, whole: Value) -> Value:
    """The state with room for the newest: before the first call it holds what leaves with the first push."""
    zero = state.type.quant.zero[0] if state.type.quant else 0
    first = state.array() if state.const else np.full(state.type.shape, zero, state.type.dtype.numpy)
    start = np.append(np.full(x.type.size, zero, first.dtype), first).reshape(whole.type.shape)
    return replace(state, type=replace(whole.type, quant=state.type.quant), const=Const.of(start))
