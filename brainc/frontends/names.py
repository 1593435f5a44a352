"""Names a person would choose, for graphs whose exporter chose worse ones.

Called once per model, right after import. `model/conv2d_3/BiasAdd;model/conv2d_3/Conv2D_prequant` becomes
`conv2d_3`, its constants `conv2d_3/w` and `conv2d_3/b`; a bare number becomes `dense12`. Ports keep their
names, and errors keep pointing at the model's own words (`Where.node`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from brainc import ops
from brainc.ir import Graph, Node, Role, fresh_name
from brainc.spec import MOVES

_TAIL = re.compile(r"(_(prequant|dequant|dequantize\w*|quantize\w*|output_\d+)|:\d+|__\d+)+$", re.IGNORECASE)
_NOISE = re.compile(  # the operations that frameworks append to the name of a layer, as they spell them
    r"(ReadVariableOp|resource|BiasAdd|Conv[12]D|Conv|MatMul|Gemm|FusedBatchNorm(V3)?|BatchNormalization|Relu6?|"
    r"depthwise|AvgPool|MaxPool|Reshape|Add|Mul|Softmax|Clip|Flatten|Transpose|batchnorm|sub\d)[\d_]*$"
)
_COMMON = 0.6  # a first word that so many names share says nothing


def tidy(graph: Graph) -> Graph:
    """The same graph under readable names."""
    ports = {name for e in graph.entries for name in (*e.inputs, *e.outputs)}
    parts = {out: _words(n.name if out in ports else out) for n in graph.nodes() for out in n.outputs}
    shared = _shared_prefix(list(parts.values()))
    taken = set(ports)
    names = {name: name for name in ports}
    labels: dict[str, str] = {}
    for node in sorted(graph.nodes(), key=_importance):  # layers first
        for out in node.outputs:
            text = "/".join(parts[out][shared:] or parts[out])
            label = fresh_name(f"{node.op}{text}" if text.isdigit() else text, taken)
            taken.add(label)
            labels.setdefault(node.name, label)
            names.setdefault(out, label)
    for node in graph.nodes():
        for index, name in enumerate(node.inputs):
            if name and name not in names:
                role = ops.get(node.op).operand_at(index).name
                plain = f"{labels.get(node.name, node.name)}/{role}"
                state = graph.values[name].role is Role.STATE  # it has a name of its own
                names[name] = fresh_name("/".join(_words(name)) if state else plain, taken)
                taken.add(names[name])
    return renamed(graph, names, labels)


def _importance(node: Node) -> int:
    """Who gets the plain name: what computes before what only moves numbers about."""
    return 2 * (node.op in MOVES - {"maxpool2d"}) + (ops.get(node.op).macs == "0")


def _words(name: str) -> list[str]:
    """The parts of a path (the last of several joined by `;`), without what exporters append."""
    plain = name.split(";")[-1].split("#")[0]
    words = [w for w in (_TAIL.sub("", part) for part in re.split(r"[/.]", plain)) if w]
    while len(words) > 1 and _NOISE.match(words[-1]):
        words.pop()
    return words or [name]


def _shared_prefix(names: list[list[str]]) -> int:
    """How many leading words most names have in common."""
    depth = 0
    while names:
        first = Counter(words[depth] for words in names if len(words) > depth + 1)
        if not first or first.most_common(1)[0][1] < _COMMON * max(first.total(), 2):
            break
        depth += 1
    return depth


def renamed(graph: Graph, names: Mapping[str, str], labels: Mapping[str, str]) -> Graph:
    """The graph with other names for some values and nodes; values that nothing mentions are dropped."""

    def new(old: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in old)

    values = {new((n,))[0]: replace(v, name=new((n,))[0]) for n, v in graph.values.items()}
    entries = []
    for e in graph.entries:
        nodes = (
            replace(n, name=labels.get(n.name, n.name), inputs=new(n.inputs), outputs=new(n.outputs)) for n in e.nodes
        )
        entries.append(replace(e, inputs=new(e.inputs), outputs=new(e.outputs), nodes=tuple(nodes)))
    return graph.replaced(values=values, entries=tuple(entries))
