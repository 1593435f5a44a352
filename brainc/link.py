"""Modules and wires become one graph, so that one arena and one C function serve them all.

The compiler knocks with a `Brain`; an IMPORTED graph with one entry leaves. Every module's names get its
own prefix (`ears/conv1`), ports get the names of the wires. A wire back to the same or an earlier module
is a memory of one step: a STATE that is read where the wire ends and assigned at the end of the entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from brainc import frontends
from brainc.dtypes import F32
from brainc.errors import ManifestError, UnsupportedError, at
from brainc.frontends import builtin
from brainc.ir import Attrs, Const, Entry, Graph, Node, Quant, Role, TensorType, Value, attrs, fresh_name, type_text
from brainc.language import SIZES, Language
from brainc.manifest import BUILTIN, Brain, End, Module, Wire
from brainc.toml_lines import one_of

Graphs = Mapping[str, Graph]
Step = tuple[str, Attrs, TensorType]  # op, attributes, result type


def load_brain(brain: Brain, target: str | None = None, shapes: Mapping[str, int] = frontends.NO_SHAPES) -> Graph:
    """Reads the models that `target` uses and links them.

    shapes: sizes of symbolic axes, `AXIS` or, where the brain has several modules, `MODULE.AXIS`.
    """
    chosen = brain.choose(target)
    graphs = {}
    for name, module in chosen.modules.items():
        if module.kind == BUILTIN:
            continue
        with at(module=None if brain.bare else name):
            given = _shapes(module, brain, shapes)
            graphs[name] = frontends.load(module.file, name=name, kind=module.kind, shapes=given)
    for name, module in chosen.modules.items():  # which are made for what feeds them
        if module.kind == BUILTIN:
            graphs[name] = _builtin(module, chosen.wires, graphs)
    return link(chosen, graphs)


def language(
    brain: Brain, target: str | None = None, shapes: Mapping[str, int] = frontends.NO_SHAPES
) -> Language | None:
    """What a brain that is one model of a language knows besides its graph."""
    modules = [*brain.choose(target).modules.values()]
    if len(modules) != 1 or modules[0].kind == BUILTIN:
        return None
    given = _shapes(modules[0], brain, shapes)
    found = frontends.language(modules[0].file, shapes=given, kind=modules[0].kind)
    return found and found.told(modules[0].language)


def _builtin(module: Module, wires: Sequence[Wire], graphs: Graphs) -> Graph:
    """A builtin for the types of its wires: as the manifest says, else as the other end has them."""
    with at(file=module.where.file, line=module.where.line, module=module.name):
        known = builtin.find(module.builtin)
        told: dict[str, TensorType | None] = {spec.name: spec.type for spec in module.inputs}
        for wire in wires:
            if wire.target.module == module.name:
                port, source = wire.target.port, wire.source
                one_of(port, known.PORTS, f'module {module.name} has no input "{port}"', wire.where)
                far = graphs.get(source.module)
                there = far is not None and source.port in far.entries[0].outputs
                told[port] = told.get(port) or (carried(far, source.port) if far and there else None)
        settings = {key: module.settings.get(key, default) for key, default in known.SETTINGS.items()}
        for key in module.settings:
            one_of(key, known.SETTINGS, f'unknown key "{key}" of a {module.builtin}')
        return known.build(module.name, settings, told)


def _shapes(module: Module, brain: Brain, shapes: Mapping[str, int]) -> dict[str, int]:
    """What the manifest's ports and the user say of the module's axes; the user wins."""
    found = {f"{p.name}.{axis}": size for p in module.inputs for axis, size in enumerate(p.type.shape)}
    found |= {key: size for key in SIZES if isinstance(size := module.language.get(key), int)}
    for name, size in shapes.items():
        owner, _, axis = name.partition(".")
        if owner in brain.modules and axis:
            found |= {axis: size} if owner == module.name else {}
        elif len(brain.modules) == 1:
            found[name] = size
        else:
            fix = f"write --shape MODULE.{name}={size}; modules: {', '.join(brain.modules)}"
            what = f"--shape {name}={size} does not say of which module"
            raise ManifestError(what, fix=fix, where=brain.where)
    return found


def link(brain: Brain, graphs: Graphs) -> Graph:
    """One graph of all modules' graphs (each with one entry); ManifestError where wires do not match them."""
    several = next((name for name, graph in graphs.items() if len(graph.entries) > 1), None)
    if several and (len(graphs) > 1 or brain.wires):
        what, fix = f"{several} has entries of its own", "make it a brain by itself: one module, no wires"
        raise UnsupportedError(what, fix=fix, where=brain.modules[several].where)
    if several:
        return replace(graphs[several], name=brain.name)
    for module in brain.modules.values():
        _check_specs(module, graphs[module.name])
    if brain.bare:
        (graph,) = graphs.values()
        return replace(graph, name=brain.name)
    wires = brain.wires or _through(brain, graphs)
    _check_wires(wires, graphs)
    _check_complete(brain, graphs, wires)
    linker = _Linker(graphs, wires)
    for name in call_order(brain, wires):
        linker.add(name)
    return linker.finish(brain)


def _through(brain: Brain, graphs: Graphs) -> tuple[Wire, ...]:
    """The wires of a brain of one module that has none: its own ports, those the manifest names first."""
    ((name, module),) = brain.modules.items()
    (entry,) = graphs[name].entries
    ins = dict.fromkeys((*(spec.name for spec in module.inputs), *entry.inputs))
    outs = dict.fromkeys((*(spec.name for spec in module.outputs), *entry.outputs))
    leaving = (Wire(End("out", port), End(name, port)) for port in outs)
    return (*(Wire(End(name, port), End("in", port)) for port in ins), *leaving)


def _check_specs(module: Module, graph: Graph) -> None:
    """The ports that the manifest describes are those of the model."""
    (entry,) = graph.entries
    sides = ((module.inputs, entry.inputs, "input"), (module.outputs, entry.outputs, "output"))
    for spec, ports, word in ((spec, ports, word) for specs, ports, word in sides for spec in specs):
        one_of(spec.name, ports, f'the model has no {word} "{spec.name}"', spec.where)
        actual = carried(graph, spec.name)
        if not same(spec.type, actual):
            what = f"{spec.name} is {type_text(spec.type)} here, but {type_text(actual)} in the model"
            fix = f'write {spec.name} = "{type_text(actual)}", or use the model that was meant'
            raise ManifestError(what, fix=fix, where=spec.where)


def _check_wires(wires: tuple[Wire, ...], graphs: Graphs) -> None:
    """Both ends of a wire are ports of their models."""
    for wire in wires:
        for end, word in ((wire.target, "input"), (wire.source, "output")):
            if end.module in graphs:
                (entry,) = graphs[end.module].entries
                ports = entry.inputs if word == "input" else entry.outputs
                one_of(end.port, ports, f'module {end.module} has no {word} "{end.port}"', wire.where)
        if wire.target.module == "out" and wire.source.module == "in":
            what, fix = f"{wire.target} is only {wire.source}", "wire a module between them"
            raise ManifestError(what, fix=fix, where=wire.where)


def _check_complete(brain: Brain, graphs: Graphs, wires: tuple[Wire, ...]) -> None:
    """Every input has a wire, the brain has an output, no port has two names and no name two ports."""
    fed = {wire.target for wire in wires}
    for end in (End(name, port) for name in brain.modules for port in graphs[name].entries[0].inputs):
        if end not in fed:
            what = f'nothing is wired to input "{end.port}" of module {end.module}'
            fix = f'add "{end}" = "in.{end.port}" to [wires], or wire an output to it'
            raise ManifestError(what, fix=fix, where=brain.modules[end.module].where)
    outs = [wire for wire in wires if wire.target.module == "out"]
    if not outs:
        fix = 'add "out.NAME" = "module.port" to [wires]'
        raise ManifestError("the brain has no output", fix=fix, where=brain.where)
    inner = {wire.source.port for wire in wires if wire.source.module == "in"}
    seen: dict[End, Wire] = {}
    for wire in outs:
        if wire.target.port in inner:
            what = f'"{wire.target.port}" names an input and an output'
            raise ManifestError(what, fix="rename one", where=wire.where)
        first = seen.setdefault(wire.source, wire)
        if first is not wire:
            what = f"{wire.source} leaves twice, as {first.target} and {wire.target}"
            fix = "keep one; whoever calls the brain can read it twice"
            raise ManifestError(what, fix=fix, where=wire.where)


class _Linker:
    """The graph under construction."""

    def __init__(self, graphs: Graphs, wires: tuple[Wire, ...]) -> None:
        self.graphs, self.wires = graphs, wires
        self.values: dict[str, Value] = {}
        self.nodes: dict[str, Node] = {}
        self.made: dict[End, str] = {}  # the value at each source of wires
        self.states: dict[End, str] = {}  # the state behind each input that is fed late
        self.outputs = {w.source: w.target.port for w in wires if w.target.module == "out"}
        self.doors: dict[End, End] = {}  # a port of the brain, and the first input that it leads to
        for wire in wires:
            if wire.source.module == "in" and wire.source not in self.doors:
                name = self.made[wire.source] = wire.source.port
                self.doors[wire.source] = wire.target
                self.values[name] = Value(name, self._own(wire.target), Role.INPUT, where=wire.where)

    def _own(self, end: End) -> TensorType:
        return self.graphs[end.module].type(end.port)

    def _carried(self, end: End) -> TensorType:
        """The type of a port with its scale; a port of the brain is what its first wire leads to."""
        end = self.doors.get(end, end)
        return carried(self.graphs[end.module], end.port)

    def _fresh(self, wanted: str) -> str:
        return fresh_name(wanted, {*self.values, *self.outputs.values()})

    def _put(self, node: Node) -> None:
        name = fresh_name(node.name, self.nodes)
        self.nodes[name] = replace(node, name=name)

    def add(self, module: str) -> None:
        """Inlines a module behind those called before it."""
        graph = self.graphs[module]
        (entry,) = graph.entries
        names = {w.target.port: self._feed(w) for w in self.wires if w.target.module == module}
        computed = {out for node in entry.nodes for out in node.outputs}
        for local, value in graph.values.items():
            if local not in names:
                port = self.outputs.get(End(module, local)) if local in computed else None
                name = names[local] = port or self._fresh(f"{module}/{local}")
                role = Role.OUTPUT if port else Role.TEMP if value.role is Role.OUTPUT else value.role
                where = replace(value.where, module=module)
                self.values[name] = replace(value, name=name, role=role, where=where)
        names[""] = ""  # an operand left out
        for node in entry.nodes:
            ins, outs = (tuple(names[end] for end in ends) for ends in (node.inputs, node.outputs))
            where = replace(node.where, module=module)
            self._put(replace(node, name=f"{module}/{node.name}", inputs=ins, outputs=outs, where=where))
        self.made |= {End(module, port): names[port] for port in entry.outputs}

    def _feed(self, wire: Wire) -> str:
        """The value that an input reads: a port, an earlier module's output, or a state."""
        if wire.source in self.made:
            return self._convert(wire)
        own, quant = self._own(wire.target), self._carried(wire.target).quant
        zero = np.full(own.shape, quant.zero[0] if quant else 0, own.dtype.numpy)  # before the first call
        name = self.states[wire.target] = self._fresh(f"{wire.target.module}/{wire.target.port}")
        self.values[name] = Value(name, own, Role.STATE, Const.of(zero), wire.where)
        return name

    def _convert(self, wire: Wire) -> str:
        """The source as the target takes it; ManifestError where types differ and may not be adapted."""
        name, source, target = self.made[wire.source], self._carried(wire.source), self._carried(wire.target)
        if same(source, target):
            return name
        steps = conversion(source, target)
        if steps is None or not wire.adapt:
            what = f"{wire.source} is {type_text(source)}, but {wire.target} takes {type_text(target)}"
            adapt = f', or have it converted: "{wire.target}" = {{ from = "{wire.source}", adapt = true }}'
            fix = "use models whose types agree" + (adapt if steps else "")
            raise ManifestError(what, fix=fix, where=wire.where)
        for op, given, type_ in steps:
            quant = self.values[name].type.quant if op == "reshape" else self._own(wire.target).quant
            result = self._fresh(f"{wire.target.module}/{wire.target.port}/{op}")
            self.values[result] = Value(result, replace(type_, quant=quant), where=wire.where)
            self._put(Node(result, op, (name,), (result,), given, wire.where))
            name = result
        return name

    def finish(self, brain: Brain) -> Graph:
        """States take their new values after all else; ports come in the manifest's order."""
        for wire in self.wires:
            state, role = self.states.get(wire.target), self.values[self.made[wire.source]].role
            if (state and role is Role.STATE) or (wire.target.module == "out" and role is not Role.OUTPUT):
                what = f"{wire.source} is not computed: the model hands an input or a constant through"
                raise UnsupportedError(what, fix="wire the place that it comes from", where=wire.where)
            if state:
                pair = (state, self._convert(wire))
                self._put(Node(f"{state}/assign", "assign", pair, (), where=wire.where))
        step = next(iter(brain.entries), "step")
        inputs = tuple(door.port for door in self.doors)
        entry = Entry(step, inputs, tuple(self.outputs.values()), tuple(self.nodes.values()))
        return Graph(brain.name, self.values, (entry,)).replaced()


def carried(graph: Graph, port: str) -> TensorType:
    """A port's type; its scale, if the value has none, is that of the quantisation right behind the door."""
    type_ = graph.type(port)
    if type_.quant is not None or not type_.dtype.is_integer:
        return type_
    producer = graph.producers().get(port)
    doors = [producer] if producer else graph.consumers().get(port, [])
    op = "to_int" if producer else "from_int"
    scales = {(node.attrs["scale"], node.attrs["zero"]) if node.op == op else None for node in doors}
    scale = scales.pop() if len(scales) == 1 else None
    return replace(type_, quant=Quant.tensor(*scale)) if scale else type_  # type: ignore[arg-type]


def same(a: TensorType, b: TensorType) -> bool:
    """Equal element type and shape, and equal scale and zero point where both are known."""
    return (a.dtype, a.shape) == (b.dtype, b.shape) and _alike(a.quant, b.quant)


def _alike(a: Quant | None, b: Quant | None) -> bool:
    if a is None or b is None:
        return True
    return (a.zero, a.axis) == (b.zero, b.axis) and np.allclose(a.scale, b.scale, rtol=1e-6, atol=0)


def conversion(source: TensorType, target: TensorType) -> tuple[Step, ...] | None:
    """The ops (results without scale) that turn a port's type into another of as many elements, else None."""
    a, b, real = source.quant, target.quant, TensorType(F32, target.shape)
    if source.size != target.size or any(q is not None and q.axis is not None for q in (a, b)):
        return None
    steps: list[Step] = []
    if source.shape != target.shape:
        steps.append(("reshape", attrs(shape=target.shape), replace(source, shape=target.shape)))
    if source.dtype is target.dtype and _alike(a, b):
        return tuple(steps)
    if a and (b or target.dtype.kind == "float"):
        steps.append(("from_int", attrs(scale=a.scale[0], zero=a.zero[0]), real))
        if b:
            steps.append(("clamp", attrs(), real))  # a clamp that bounds nothing: requantise
    if b and (a or source.dtype.kind == "float"):
        given = attrs(scale=b.scale[0], zero=b.zero[0], dtype=target.dtype.name)
        steps.append(("to_int", given, target))
    elif not (a and target.dtype is F32):
        steps.append(("cast", attrs(to=target.dtype.name), target))
    return tuple(steps)


def call_order(brain: Brain, wires: Sequence[Wire]) -> tuple[str, ...]:
    """Modules so that each comes after those it reads; `entries` decides where they read each other."""
    left = list(next(iter(brain.entries.values()), brain.modules))
    order: list[str] = []
    while left:
        above = _above(left, wires)
        free = [name for name in left if all(name in above[other] for other in above[name])]
        first = min(free, key=lambda name: bool(above[name]))  # who waits for nobody, else who opens a circle
        if above[first] and not brain.entries:
            circle = [name for name in left if name in above[first]]
            back = next(w for w in wires if w.target.module == first and w.source.module in circle)
            names = ", ".join(f'"{name}"' for name in brain.modules)
            raise ManifestError(
                f"modules {' and '.join(circle)} wait for each other",
                fix=f"say in [brain] who is called first: entries = {{ step = [{names}] }}\n"
                "a wire back to an earlier module then carries the value of the call before",
                where=back.where,
            )
        order.append(first)
        left.remove(first)
    return tuple(order)


def _above(names: Sequence[str], wires: Sequence[Wire]) -> dict[str, set[str]]:
    """For each module the others that it waits for, directly or through others (itself in a circle)."""
    above: dict[str, set[str]] = {name: set() for name in names}
    for wire in wires:
        if wire.target.module in above and wire.source.module in above.keys() - {wire.target.module}:
            above[wire.target.module].add(wire.source.module)
    for via, name in product(names, names):
        if via in above[name]:
            above[name] |= above[via]
    return above
