"""The rule driver: small rewrites, applied wherever they fit, until none does.

Knocks: the canonical passes. Leaves: a new graph, or the very same one if no rule matched.

A rule looks at one node and, through `View`, at what surrounds it; it looks *up* (to the producers of its
operands), so that one sweep down the graph carries a change through a whole chain. What it returns takes
the node's place. Nodes that nobody reads any more are dropped at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from brainc.dtypes import Array
from brainc.errors import BugError, at
from brainc.ir import Attrs, Graph, Node, Quant, Role, TensorType, Value, const_value, fresh_name
from brainc.spec import changes_state

STEPS_PER_NODE = 60  # far more than any chain of rules needs; beyond it two rules undo each other


@dataclass(frozen=True, slots=True)
class Replacement:
    """What takes a node's place: `nodes` there, `values` (new or retyped), and for results that are no
    longer made, `renames` from the old name to the value that stands for it."""

    nodes: tuple[Node, ...] = ()
    values: tuple[Value, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)


RuleBody = Callable[[Node, "View"], Replacement | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewrite of nodes whose op is one of `ops`."""

    ops: frozenset[str]
    body: RuleBody


def rule(*names: str) -> Callable[[RuleBody], Rule]:
    """Decorator: a function (node, view) -> Replacement | None becomes a rule for these ops."""
    return lambda body: Rule(frozenset(names), body)


class View:
    """The graph while it is being rewritten: look-ups for rules."""

    def __init__(self, graph: Graph, note: Callable[[str], None]) -> None:
        self.values: dict[str, Value] = dict(graph.values)
        self.ports = {p for e in graph.entries for p in (*e.inputs, *e.outputs)}
        self.nodes: dict[str, Node] = {}
        self.note = note
        self.passed: set[str] = set()  # the nodes before the place that is being rewritten
        self._maker: dict[str, str] = {}
        self._users: dict[str, list[str]] = {}
        self._taken: set[str] = set(self.values)
        for node in graph.nodes():
            self._add(node)

    def type(self, name: str) -> TensorType:
        return self.values[name].type

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].type.shape

    def array(self, name: str) -> Array:
        return self.values[name].array()

    def is_const(self, name: str) -> bool:
        return bool(name) and self.values[name].role is Role.CONST

    def scalar(self, name: str) -> float | None:
        """The number of a float constant that has just one."""
        if not self.is_const(name) or self.type(name).quant or self.type(name).size != 1:
            return None
        return float(self.array(name).reshape(-1)[0])

    def producer(self, name: str, *names: str) -> Node | None:
        """The node that writes `name`, if there is one and its op is among `names` (if any are given)."""
        maker = self._maker.get(name)
        node = self.nodes[maker] if maker else None
        return node if node and (not names or node.op in names) else None

    def users(self, name: str) -> list[Node]:
        """The nodes that read `name` (a node twice if it reads twice)."""
        return [self.nodes[n] for n in self._users.get(name, ())]

    def private(self, name: str) -> bool:
        """Whether `name` is read exactly once and is no port: its producer may be changed for its reader."""
        return len(self._users.get(name, ())) == 1 and name not in self.ports

    def fresh(self, wanted: str) -> str:
        """A name nothing has yet; it is taken from now on. `x/rows/rows` is no better than `x/rows`."""
        parts = wanted.split("/")
        while len(parts) > 2 and parts[-1] == parts[-2]:
            parts.pop()
        name = fresh_name("/".join(parts), self._taken)
        self._taken.add(name)
        return name

    def temp(self, wanted: str, type_: TensorType, shape: tuple[int, ...] | None = None) -> Value:
        """A new value of that type (but that shape) under a fresh name."""
        return Value(self.fresh(wanted), type_ if shape is None else replace(type_, shape=shape))

    def changed(self, old: Value, wanted: str, array: Array, quant: Quant | None) -> Value:
        """The constant `old` with other numbers and quant, under a fresh name."""
        return const_value(self.fresh(wanted), array, old.type.dtype, quant, old.where)

    def make(self, wanted: str, op: str, inputs: Sequence[str], attrs: Attrs, result: str | Value) -> Node:
        """A new node (fresh name) writing `result`."""
        out = result if isinstance(result, str) else result.name
        return Node(self.fresh(wanted), op, tuple(inputs), (out,), attrs)

    def can_rename(self, old: str, new: str) -> bool:
        """A port keeps its name, so what stands for it must be free to take that name."""
        return old not in self.ports or (new not in self.ports and new in self._maker)

    def put(self, node: Node, new: Replacement) -> None:
        """Replaces `node`; a new node that bears the name of an old one takes that one's place as well."""
        self.values.update({value.name: value for value in new.values})
        self._taken.update(value.name for value in new.values)
        gone = dict.fromkeys([node.name, *(n.name for n in new.nodes if n.name in self.nodes)])
        unread = [name for old in gone for name in self._remove(self.nodes[old])]
        for made in new.nodes:
            self._add(made)
        for before, after in new.renames.items():
            self._rename(before, after)
        while unread:  # producers that nobody needs any more, and theirs
            maker = self.producer(unread.pop())
            if maker is not None and self._dead(maker):
                unread += self._remove(maker)

    def _add(self, node: Node) -> None:
        self.nodes[node.name] = node
        self._taken.add(node.name)
        self._maker.update(dict.fromkeys(node.outputs, node.name))
        for name in node.operands:
            self._users.setdefault(name, []).append(node.name)

    def _remove(self, node: Node) -> tuple[str, ...]:
        """Takes the node out; its operands, which may have lost their last reader."""
        del self.nodes[node.name]
        for name in node.operands:
            self._users[name].remove(node.name)
        for out in node.outputs:
            if self._maker.get(out) == node.name:
                del self._maker[out]
        return node.operands

    def _dead(self, node: Node) -> bool:
        return not changes_state(node) and not any(self._users.get(o) or o in self.ports for o in node.outputs)

    def _rename(self, old: str, new: str) -> None:
        """Every reader of `old` reads `new`; if `old` is a port, the producer of `new` writes `old`."""
        if old in self.ports:
            old, new = new, old
            maker = self.nodes[self._maker.pop(old)]
            outs = tuple(new if o == old else o for o in maker.outputs)
            self.nodes[maker.name] = replace(maker, outputs=outs)
            self._maker[new] = maker.name
        for reader in set(self._users.pop(old, ())):
            node = self.nodes[reader]
            self.nodes[reader] = replace(node, inputs=tuple(new if i == old else i for i in node.inputs))
            self._users.setdefault(new, []).extend([reader] * node.inputs.count(old))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """The node on values of other names."""
    inputs = tuple(names.get(n, n) for n in node.inputs)
    return replace(node, inputs=inputs, outputs=tuple(names.get(n, n) for n in node.outputs))


def tied(names: Iterable[str], ties: Iterable[Sequence[str]]) -> dict[str, str]:
    """Each name's group, by the name that leads it: `ties` are names that belong together (union-find)."""
    leader = {name: name for name in names}

    def root(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for first, *others in filter(None, ties):
        for name in others:
            leader[root(name)] = root(first)
    return {name: root(name) for name in leader}


def apply(graph: Graph, rules: Sequence[Rule], note: Callable[[str], None] = lambda line: None) -> Graph:
    """`graph` with `rules` applied to fixpoint; the same object if none matched."""
    view = View(graph, note)
    orders = {entry.name: [n.name for n in entry.nodes] for entry in graph.entries}
    budget, steps, last = STEPS_PER_NODE * len(view.nodes) + 1000, 0, -1
    while steps != last:
        last = steps
        view.passed.clear()
        for entry, order in orders.items():
            orders[entry], hits = _sweep(view, order, rules)
            steps += len(hits)
        if steps > budget:
            raise BugError(f"rules undo each other: {', '.join(sorted(set(hits)))}", fix="please report this")
    if steps == 0:
        return graph
    entries = tuple(replace(e, nodes=tuple(view.nodes[n] for n in orders[e.name])) for e in graph.entries)
    return graph.replaced(values=view.values, entries=entries)


def _sweep(view: View, order: Iterable[str], rules: Sequence[Rule]) -> tuple[list[str], list[str]]:
    """Once down an entry: the new order of its nodes, and the names of the rules that matched."""
    done: list[str] = []
    hits: list[str] = []
    for name in order:
        made, node = [name], view.nodes.get(name)
        if node and (match := _match(view, node, rules)):
            view.put(node, match[1])
            hits.append(match[0])
            made = [n.name for n in match[1].nodes]
        done += made
        view.passed.update(made)
    last_places = list(dict.fromkeys(reversed(done)))[::-1]
    return [name for name in last_places if name in view.nodes], hits


def _match(view: View, node: Node, rules: Sequence[Rule]) -> tuple[str, Replacement] | None:
    """The first rule that fits, and what it makes of the node."""
    with at(node=node.name, op=node.op):
        for one in rules:
            new = one.body(node, view) if node.op in one.ops else None
            if new is not None and all(view.can_rename(old, name) for old, name in new.renames.items()):
                return one.body.__name__, new
    return None
