"""Modules and wires become one graph, so that one arena and one C function serve them all.

The compiler knocks with a `Brain`; an IMPORTED graph with one entry leaves. Every module's names get its
own prefix (`ears/conv1`), ports get the names of the wires. A wire back to the same or an earlier module
is a memory of one step: a STATE that is read where the wire ends and assigned at the end of the entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from brainc import frontends
from brainc.brain import Brain, End, Module, PortSpec, Wire, type_text
from brainc.errors import ManifestError, UnsupportedError, at
from brainc.ir import Const, Entry, Graph, Node, Role, TensorType, Value, fresh_name
from brainc.toml_lines import nearest
from brainc.wiring import call_order, conversion, port_type, same

Graphs = Mapping[str, Graph]
NO_SHAPES: Mapping[str, int] = MappingProxyType({})


def load_brain(brain: Brain, target: str | None = None, shapes: Mapping[str, int] = NO_SHAPES) -> Graph:
    """Reads the models that `target` uses and links them.

    shapes: sizes of symbolic axes, `AXIS` or, where the brain has several modules, `MODULE.AXIS`.
    """
    chosen = brain.choose(target)
    graphs = {}
    for name, module in chosen.modules.items():
        with at(module=None if brain.bare else name):
            given = _shapes(module, brain, shapes)
            graphs[name] = frontends.load(module.file, name=name, kind=module.kind, shapes=given)
    return link(chosen, graphs)


def _shapes(module: Module, brain: Brain, shapes: Mapping[str, int]) -> dict[str, int]:
    """What the manifest's ports and the user say of the module's axes; the user wins."""
    found = {f"{p.name}.{axis}": size for p in module.inputs for axis, size in enumerate(p.type.shape)}
    for name, size in shapes.items():
        owner, _, axis = name.partition(".")
        if owner in brain.modules and axis:
            found |= {axis: size} if owner == module.name else {}
        elif len(brain.modules) == 1:
            found[name] = size
        else:
            raise ManifestError(
                f"--shape {name}={size} does not say of which module",
                fix=f"write --shape MODULE.{name}={size}; modules: {', '.join(brain.modules)}",
                where=brain.where,
            )
    return found


def link(brain: Brain, graphs: Graphs) -> Graph:
    """One graph of all modules' graphs (each with one entry); ManifestError where wires do not match them."""
    for module in brain.modules.values():
        _check_specs(module, graphs[module.name])
    if brain.bare:
        (graph,) = graphs.values()
        return replace(graph, name=brain.name)
    wires = brain.wires or _through(brain, graphs)
    for wire in wires:
        _check_ends(wire, graphs)
    _check_complete(brain, graphs, wires)
    linker = _Linker(graphs, wires)
    for name in call_order(brain, wires):
        linker.add(name)
    return linker.finish(brain)


def _through(brain: Brain, graphs: Graphs) -> tuple[Wire, ...]:
    """The wires of a brain of one module that has none: its own ports, those the manifest names first."""
    ((name, module),) = brain.modules.items()
    (entry,) = graphs[name].entries

    def ordered(specs: tuple[PortSpec, ...], ports: tuple[str, ...]) -> list[str]:
        return list(dict.fromkeys((*(spec.name for spec in specs), *ports)))

    ins = [Wire(End(name, p), End("in", p)) for p in ordered(module.inputs, entry.inputs)]
    outs = [Wire(End("out", p), End(name, p)) for p in ordered(module.outputs, entry.outputs)]
    return (*ins, *outs)


def _check_specs(module: Module, graph: Graph) -> None:
    """The ports that the manifest describes are those of the model."""
    (entry,) = graph.entries
    sides = ((module.inputs, entry.inputs, "input"), (module.outputs, entry.outputs, "output"))
    for specs, ports, word in sides:
        for spec in specs:
            if spec.name not in ports:
                raise ManifestError(
                    f'the model has no {word} "{spec.name}"', fix=nearest(spec.name, ports), where=spec.where
                )
            actual = port_type(graph, spec.name)
            if not same(spec.type, actual):
                raise ManifestError(
                    f"{spec.name} is {type_text(spec.type)} here, but {type_text(actual)} in the model",
                    fix=f'write {spec.name} = "{type_text(actual)}", or use the model that was meant',
                    where=spec.where,
                )


def _check_ends(wire: Wire, graphs: Graphs) -> None:
    """Both ends of a wire are ports of their models."""
    for end, word in ((wire.target, "input"), (wire.source, "output")):
        if end.module not in graphs:
            continue
        (entry,) = graphs[end.module].entries
        ports = entry.inputs if end is wire.target else entry.outputs
        if end.port not in ports:
            raise ManifestError(
                f'module {end.module} has no {word} "{end.port}"',
                fix=nearest(end.port, ports),
                where=wire.where,
            )
    if wire.target.module == "out" and wire.source.module == "in":
        raise ManifestError(
            f"{wire.target} is only {wire.source}", fix="wire a module between them", where=wire.where
        )


def _check_complete(brain: Brain, graphs: Graphs, wires: tuple[Wire, ...]) -> None:
    """Every input has a wire, the brain has an output, no port has two names and no name two ports."""
    fed = {wire.target for wire in wires}
    for name, module in brain.modules.items():
        for port in graphs[name].entries[0].inputs:
            if End(name, port) not in fed:
                raise ManifestError(
                    f'nothing is wired to input "{port}" of module {name}',
                    fix=f'add "{name}.{port}" = "in.{port}" to [wires], or wire an output to it',
                    where=module.where,
                )
    outs = [wire for wire in wires if wire.target.module == "out"]
    if not outs:
        raise ManifestError(
            "the brain has no output", fix='add "out.NAME" = "module.port" to [wires]', where=brain.where
        )
    inner = {wire.source.port for wire in wires if wire.source.module == "in"}
    seen: dict[End, Wire] = {}
    for wire in outs:
        if wire.target.port in inner:
            raise ManifestError(
                f'"{wire.target.port}" names an input and an output', fix="rename one", where=wire.where
            )
        first = seen.setdefault(wire.source, wire)
        if first is not wire:
            raise ManifestError(
                f"{wire.source} leaves twice, as {first.target} and {wire.target}",
                fix="keep one; whoever calls the brain can read it twice",
                where=wire.where,
            )


class _Linker:
    """The graph under construction; `made` says which value each module's output is."""

    def __init__(self, graphs: Graphs, wires: tuple[Wire, ...]) -> None:
        self.graphs, self.wires = graphs, wires
        self.values: dict[str, Value] = {}
        self.nodes: dict[str, Node] = {}
        self.made: dict[End, str] = {}
        self.delays: list[tuple[Wire, str]] = []  # a wire back, and the state that it fills
        self.outputs = {w.source: w.target.port for w in wires if w.target.module == "out"}
        for wire in wires:
            if wire.source.module == "in" and wire.source.port not in self.values:
                type_ = graphs[wire.target.module].type(wire.target.port)
                self.values[wire.source.port] = Value(wire.source.port, type_, Role.INPUT, where=wire.where)

    def add(self, module: str) -> None:
        """Inlines a module behind those called before it."""
        graph = self.graphs[module]
        (entry,) = graph.entries
        names = {w.target.port: self._feed(w) for w in self.wires if w.target.module == module}
        computed = {out for node in entry.nodes for out in node.outputs}
        for local, value in graph.values.items():
            if local in names:
                continue
            port = self.outputs.get(End(module, local)) if local in computed else None
            names[local] = port or self._fresh(f"{module}/{local}")
            role = Role.OUTPUT if port else Role.TEMP if value.role is Role.OUTPUT else value.role
            where = replace(value.where, module=module)
            self.values[names[local]] = replace(value, name=names[local], role=role, where=where)
        for node in entry.nodes:
            ins = tuple(names[i] if i else "" for i in node.inputs)
            outs = tuple(names[o] for o in node.outputs)
            where = replace(node.where, module=module)
            self._put(replace(node, name=f"{module}/{node.name}", inputs=ins, outputs=outs, where=where))
        self.made |= {End(module, port): names[port] for port in entry.outputs}

    def _fresh(self, wanted: str) -> str:
        return fresh_name(wanted, {*self.values, *self.outputs.values()})

    def _put(self, node: Node) -> None:
        name = fresh_name(node.name, self.nodes)
        self.nodes[name] = replace(node, name=name)

    def _feed(self, wire: Wire) -> str:
        """The value that an input reads: a port, an earlier module's output, or a state."""
        if wire.source.module == "in":
            return self._convert(wire, wire.source.port)
        if wire.source in self.made:
            return self._convert(wire, self.made[wire.source])
        known = port_type(self.graphs[wire.target.module], wire.target.port)
        type_ = self.graphs[wire.target.module].type(wire.target.port)
        name = self._fresh(f"{wire.target.module}/{wire.target.port}")
        zero = known.quant.zero[0] if known.quant else 0
        start = Const.of(np.full(type_.shape, zero, type_.dtype.numpy))  # real zero, before the first call
        self.values[name] = Value(name, type_, Role.STATE, start, wire.where)
        self.delays.append((wire, name))
        return name

    def _carried(self, wire: Wire) -> TensorType:
        """The type at a wire's source; a port of the brain is what its first wire leads to."""
        end = wire.source
        if end.module == "in":
            end = next(w.target for w in self.wires if w.source == end)
        return port_type(self.graphs[end.module], end.port)

    def _convert(self, wire: Wire, name: str) -> str:
        """`name` as the wire's target takes it; ManifestError where types differ and may not be adapted."""
        source, target = self._carried(wire), port_type(self.graphs[wire.target.module], wire.target.port)
        if same(source, target):
            return name
        steps = conversion(source, target)
        if steps is None or not wire.adapt:
            adapt = f'"{wire.target}" = {{ from = "{wire.source}", adapt = true }}'
            raise ManifestError(
                f"{wire.source} is {type_text(source)}, but {wire.target} takes {type_text(target)}",
                fix="use models whose types agree" + (f", or have it converted: {adapt}" if steps else ""),
                where=wire.where,
            )
        own = self.graphs[wire.target.module].type(wire.target.port)
        for op, given, type_ in steps:
            quant = own.quant if op != "reshape" else self.values[name].type.quant
            result = self._fresh(f"{wire.target.module}/{wire.target.port}/{op}")
            self.values[result] = Value(result, replace(type_, quant=quant), where=wire.where)
            self._put(Node(result, op, (name,), (result,), given, wire.where))
            name = result
        return name

    def finish(self, brain: Brain) -> Graph:
        """States take their new values after all else; ports come in the manifest's order."""
        for wire in self.wires:
            if wire.target.module == "out" and self.values[self.made[wire.source]].role is not Role.OUTPUT:
                raise _handed_through(wire)
        for wire, state in self.delays:
            name = self.made[wire.source]
            if self.values[name].role is Role.STATE:
                raise _handed_through(wire)
            name = self._convert(wire, name)
            self._put(Node(f"{state}/assign", "assign", (state, name), (), where=wire.where))
        inputs = dict.fromkeys(w.source.port for w in self.wires if w.source.module == "in")
        step = next(iter(brain.entries), "step")
        entry = Entry(step, tuple(inputs), tuple(self.outputs.values()), tuple(self.nodes.values()))
        return Graph(brain.name, self.values, (entry,)).replaced()


def _handed_through(wire: Wire) -> UnsupportedError:
    return UnsupportedError(
        f"{wire.source} is not computed: the model hands an input or a constant through",
        fix="wire the place that it comes from",
        where=wire.where,
    )
