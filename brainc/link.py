"""Modules and wires become one graph, so that one arena and one C function serve them all.

The compiler knocks with a `Brain`; an IMPORTED graph with one entry leaves. Every module's names get its
own prefix (`ears/conv1`), ports get the names of the wires. A wire back to the same or an earlier module
is a memory of one step: a STATE that is read where the wire ends and assigned at the end of the entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from brainc import frontends
from brainc.brain import Brain, End, Module, PortSpec, Wire, type_text
from brainc.errors import ManifestError, UnsupportedError, at
from brainc.ir import Entry, Graph, Node, Quant, Role, TensorType, Value, attrs, fresh_name
from brainc.toml_lines import nearest
from brainc.wiring import call_order, port_type, same

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
    linker = _Linker(graphs)
    for name in call_order(brain, wires):
        linker.add(name, [w for w in wires if w.target.module == name], wires)
    return linker.finish(brain, wires)


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
    for specs, ports, word in ((module.inputs, entry.inputs, "input"), (module.outputs, entry.outputs, "output")):
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
                f'module {end.module} has no {word} "{end.port}"', fix=nearest(end.port, ports), where=wire.where
            )
    if wire.target.module == "out" and wire.source.module == "in":
        raise ManifestError(f"{wire.target} is {wire.source}", fix="wire a module between them", where=wire.where)


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
        raise ManifestError("the brain has no output", fix='add "out.NAME" = "module.port" to [wires]', where=brain.where)
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


@dataclass(slots=True)
class _Linker:
    """The graph under construction; `ports` says where each module's outputs lie."""

    graphs: Graphs
    values: dict[str, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    ports: dict[End, str] = field(default_factory=dict)
    inputs: dict[End, str] = field(default_factory=dict)
    states: dict[Wire, str] = field(default_factory=dict)

    def add(self, name: str, into: list[Wire], wires: tuple[Wire, ...]) -> None:
        """Inlines a module behind those called before it."""
        graph = self.graphs[name]
        (entry,) = graph.entries
        names = {wire.target.port: self._feed(wire) for wire in into}
        made = {out for node in entry.nodes for out in node.outputs}
        for wire in wires:
            if wire.source.module == name and wire.target.module == "out" and wire.source.port in made:
                names[wire.source.port] = wire.target.port
                self.values[wire.target.port] = Value(wire.target.port, TensorType, Role.OUTPUT)
        raise NotImplementedError
