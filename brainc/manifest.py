"""What the user wants compiled: `brain.toml`, or a bare model file, as a frozen `Brain`.

The command line knocks with a path; the linker reads what leaves. The manifest is checked as far as text
can be: keys, kinds, port types, paths (never outside the brain's folder), variants. `link.py` checks what
needs the models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from brainc.c_names import c_file_name, c_identifier
from brainc.errors import ManifestError, UnsupportedError, Where, at
from brainc.ir import NOWHERE, TensorType
from brainc.language import Settings, settings_of
from brainc.port_types import port_type
from brainc.target import all_targets
from brainc.toml_lines import Table, one_of, read

FILE = "brain.toml"
GGUF = "gguf"  # a language model
KINDS = ("onnx", "tflite", GGUF)
BUILTIN = "builtin"  # a module that comes with brainc
LATER = ("trees", "extern")
METRICS = ("top1", "auc_error", "mse")
_WEIGHTS = {"i8": "int8", "i4": "int4", "f32": "none"}  # how `Quantise` calls them
_QUANT = {"weights": _WEIGHTS, "per": ("channel",), "calibration": ("minmax", "percentile", "mse"), "group": ()}
_DATA = ("samples", "calibrate", "metric")
_FIELDS = {"in": "inputs", "out": "outputs"}  # of Module; all other keys are fields themselves


@dataclass(frozen=True, slots=True)
class PortSpec:
    """What the manifest says of a module's port; a scale it does not say is None in `type.quant`."""

    name: str
    type: TensorType
    where: Where


@dataclass(frozen=True, slots=True)
class Quantise:
    """How a module of floats becomes integers; None: as the command line or the default says."""

    quantize: str | None = None  # "int8" | "int4" | "none"
    calibration: str | None = None  # "minmax" | "percentile" | "mse"
    group: int | None = None  # terms that share a scale, of weights of 4 bits


@dataclass(frozen=True, slots=True)
class Module:
    """One model of the brain; `variants` are other whole modules under the same name."""

    name: str
    kind: str
    file: Path = Path()  # none where it is a builtin
    license: str = "unstated"
    share: bool = False
    inputs: tuple[PortSpec, ...] = ()
    outputs: tuple[PortSpec, ...] = ()
    samples: Path | None = None
    calibrate: Path | None = None
    metric: str | None = None
    quant: Quantise = Quantise()
    adapt: bool = False
    variants: Mapping[str, Module] = field(default_factory=dict)
    builtin: str = ""  # which one
    settings: Mapping[str, int] = field(default_factory=dict)  # of a builtin: its own keys
    language: Settings = field(default_factory=dict)  # of a language model: sizes, sampling, system prompt
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire; module "in" or "out" is the brain's own door."""

    module: str
    port: str

    def __str__(self) -> str:
        return f"{self.module}.{self.port}"


@dataclass(frozen=True, slots=True)
class Wire:
    """`source` feeds `target`; with `adapt` another type is converted instead of refused."""

    target: End
    source: End
    adapt: bool = False
    where: Where = NOWHERE


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes of RAM and flash, cycles per step; None: what the machine has."""

    ram: int | None = None
    flash: int | None = None
    cycles: int | None = None


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """What the brain wants on one target: variants by module, a budget, kernels by node."""

    use: Mapping[str, str]
    budget: Budget
    pin: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Brain:
    """A whole manifest. `wires` empty: the only module's own ports. `entries` empty: one `step`, its
    order left to the wires. `samples`, `calibrate` and `metric` speak of the brain's own ports."""

    name: str
    folder: Path
    modules: Mapping[str, Module]
    wires: tuple[Wire, ...] = ()
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: Mapping[str, TargetChoice] = field(default_factory=dict)
    samples: Path | None = None
    calibrate: Path | None = None
    metric: str | None = None
    bare: bool = False
    where: Where = NOWHERE

    @property
    def speaks(self) -> bool:
        """Whether it is a language model."""
        return any(module.kind == GGUF for module in self.modules.values())

    def choose(self, target: str | None) -> Brain:
        """The brain as `target` wants it: its variants are the modules now."""
        choice = self.targets.get(target or "")
        if choice is None:
            return self
        chosen = {n: m.variants[choice.use[n]] if n in choice.use else m for n, m in self.modules.items()}
        return replace(self, modules=chosen)


def load(source: Path) -> Brain:
    """The brain at `source`: a folder with brain.toml, that file, or a model file (a brain of one module)."""
    if source.is_dir():
        source = source / FILE
    if not source.is_file():
        fix = f"name a folder with {FILE}, that file, or a model file (.{', .'.join(KINDS)})"
        raise ManifestError(f"there is no file {source}", fix=fix)
    if source.suffix == ".toml":
        return _brain(read(source), source.parent)
    name, where = c_file_name(source.stem), Where(str(source))
    module = Module(name, _kind_of(source, where), source)
    return Brain(name, source.parent, {name: module}, bare=True, where=where)


def _kind_of(file: Path, where: Where) -> str:
    """What a model file is, by its suffix."""
    if not file.suffix:
        fix = f"rename it (.{', .'.join(KINDS)})"
        raise ManifestError(f"{file.name} has no suffix that tells its kind", fix=fix, where=where)
    return _kind(file.suffix[1:].lower(), where)


def _kind(word: str, where: Where) -> str:
    known = (*KINDS, BUILTIN)
    if word in LATER:
        what = f'brainc cannot read modules of kind "{word}" yet'
        fix = f"available: {', '.join(known)}; convert the model if you can"
        raise UnsupportedError(what, fix=fix, where=where)
    return one_of(word, known, f'unknown kind of model "{word}"', where)


def _brain(top: Table, folder: Path) -> Brain:
    top.only(("brain", "modules", "wires", "target"))
    head = top.table("brain").only(("name", "entries", "extensions", *_DATA))
    name = head.get("name", str)
    if head.get("extensions", list):
        where = head.where("extensions")
        raise UnsupportedError("brainc cannot load extensions yet", fix="remove the line", where=where)
    modules = {key: _module(table, key) for key, table in top.table("modules").tables().items()}
    if not modules:
        raise top.error("a brain needs a module", fix='add [modules.NAME] with file = "model.onnx"')
    wires = _wires(top.table("wires"), modules)
    if len(modules) > 1 and not wires:
        what = f"nothing says how {', '.join(modules)} are wired"
        raise top.error(what, fix='add [wires] with "module.port" = "in.name"')
    return Brain(
        c_file_name(folder.resolve().name) if name is None else _file_name(name, head.where("name")),
        folder,
        modules,
        wires,
        _entries(head.table("entries"), modules),
        {key: _choice(table, key, modules) for key, table in top.table("target").tables().items()},
        where=Where(top.file),
        **_data(head, modules),
    )


def _c_name(name: str, where: Where) -> str:
    """A name that goes into C must be an identifier, and none that C has taken."""
    if c_identifier(name) != name:
        fix = "use letters, digits and single underscores, a letter first, and no word of C"
        raise ManifestError(f'"{name}" cannot be a name in C', fix=fix, where=where)
    return name


def _file_name(name: str, where: Where) -> str:
    """The brain's name is also a header's and a type's, which must not hide those of the C library."""
    if c_file_name(_c_name(name, where)) != name:
        what = f"{name}.h or {name}_t would stand in for what others need by that name"
        raise ManifestError(what, fix=f"call the brain something else, like {name}_brain", where=where)
    return name


def _data(head: Table, modules: Mapping[str, Module]) -> dict[str, Any]:
    """Samples and metric: the brain's own words, else those of the only module that has any."""
    theirs = {key: [said for m in modules.values() if (said := getattr(m, key))] for key in _DATA}
    return {key: said[0] for key, said in theirs.items() if len(said) == 1} | _said(head, _DATA)


def _said(table: Table, keys: Iterable[str]) -> dict[str, Any]:
    """What a table says under some of the keys that `_READERS` read, by fields of `Module`."""
    return {_FIELDS.get(key, key): _READERS[key](table, key) for key in keys if key in table.items}


def _module(table: Table, name: str) -> Module:
    table = replace(table, module=name)
    if name in ("in", "out") or not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        fix = 'use letters, digits and underscores; "in" and "out" are taken'
        raise table.error(f'"{name}" cannot name a module', fix=fix)
    if table.get("kind", str) == BUILTIN:
        return _builtin(table, name)
    said = _settings(table, (*_READERS, "adapt", "variants"))
    if "file" not in said:
        raise table.error("the module has no file", fix='add file = "model.onnx"')
    base = Module(name, **said, adapt=table.get("adapt", bool) or False, where=table.where())
    variants = table.table("variants").tables()
    others = {key: replace(base, **_settings(v, _READERS), where=v.where()) for key, v in variants.items()}
    return replace(base, variants=others)


def _builtin(table: Table, name: str) -> Module:
    """A module that comes with brainc; keys that all modules do not have are its own, whole numbers."""
    which = table.get("builtin", str)
    if which is None:
        raise table.error("the module does not say which builtin it is", fix='add builtin = "sampler"')
    shared = ("license", "share", "in", "out")
    own = {key: item for key, item in table.items.items() if key not in ("kind", "builtin", "adapt", *shared)}
    settings, adapt = replace(table, items=own).each(int), table.get("adapt", bool) or False
    said = _said(table, shared)
    return Module(name, BUILTIN, builtin=which, settings=settings, adapt=adapt, where=table.where(), **said)


def _settings(table: Table, known: Collection[str]) -> dict[str, Any]:
    """What a module or variant says itself, as fields of `Module`."""
    kind = table.get("kind", str)
    if kind is not None:  # first: a kind that comes later has keys of its own
        _kind(kind, table.where("kind"))
    table.only(known)
    said = _said(table, _READERS)
    if kind is None and "file" in said:
        said["kind"] = _kind_of(said["file"], table.where("file"))
    if "language" in said and said.get("kind", GGUF) != GGUF:
        raise table.error("the model is none of a language", fix="remove the line", key="language")
    return said


def _ports(table: Table, key: str) -> tuple[PortSpec, ...]:
    ports, table = [], table.table(key)
    for name, text in table.each(str).items():
        where = table.where(name)
        with at(file=where.file, line=where.line, module=where.module):
            ports.append(PortSpec(name, port_type(text), where))
    return tuple(ports)


def _quant(table: Table, key: str) -> Quantise:
    table = table.table(key).only(_QUANT)
    group = table.get("group", int)
    said = {key: word for key in _QUANT if key != "group" and (word := table.get(key, str)) is not None}
    for name, word in said.items():
        one_of(word, _QUANT[name], f'{name} = "{word}" is not available', table.where(name))
    quantize = _WEIGHTS.get(said.get("weights", ""))
    if group is not None and (quantize != "int4" or group < 1):
        fix = 'it counts the weights that share a scale: weights = "i4", group = 32'
        raise table.error(f"group = {group} does not fit the weights", fix=fix, key="group")
    return Quantise(quantize, said.get("calibration"), group)


def _metric(table: Table, key: str) -> str:
    """A metric's name, or FILE.py:function with FILE.py inside the folder."""
    metric = table.get(key, str) or ""
    file, _, function = metric.rpartition(":")
    if file.endswith(".py") and function.isidentifier():
        return f"{_inside(table, key, file)}:{function}"
    return one_of(metric, (*METRICS, "FILE.py:function"), f'unknown metric "{metric}"', table.where(key))


def _inside(table: Table, key: str, written: str) -> Path:
    """A file of the brain's folder; absolute paths, `..` and links that lead out are refused."""
    folder, foreign = Path(table.file).parent, PureWindowsPath(written)  # which knows "/" and "C:\\" alike
    path, outside = folder / written, bool(foreign.anchor) or ".." in foreign.parts
    if not outside and not os.path.isfile(path):  # unlike Path.is_file, no exception for an odd name
        fix = f"paths start at the folder of {FILE}"
        raise table.error(f'there is no file "{written}"', fix=fix, key=key)
    if outside or not path.resolve().is_relative_to(folder.resolve()):
        fix = "copy the file into the folder and name it from there"
        raise table.error(f'"{written}" lies outside the brain\'s folder', fix=fix, key=key)
    return path


def _path(table: Table, key: str) -> Path:
    return _inside(table, key, table.get(key, str) or "")


_READERS: Mapping[str, Callable[[Table, str], Any]] = {
    "kind": lambda table, key: table.get(key, str),
    "file": _path,
    "license": lambda table, key: table.get(key, str),
    "share": lambda table, key: table.get(key, bool),
    "in": _ports,
    "out": _ports,
    "samples": _path,
    "calibrate": _path,
    "metric": _metric,
    "quant": _quant,
    "language": settings_of,
}


def _wires(table: Table, modules: Mapping[str, Module]) -> tuple[Wire, ...]:
    found: dict[End, Wire] = {}
    for wire in _written(table, modules):
        if wire.target in found:
            first = found[wire.target].where.line
            what = f"two wires lead into {wire.target}, the other in line {first}"
            fix = "keep one of them: an input takes one wire"
            raise ManifestError(what, fix=fix, where=wire.where)
        module = modules.get(wire.target.module)
        found[wire.target] = replace(wire, adapt=wire.adapt or (module is not None and module.adapt))
    return tuple(found.values())


def _written(table: Table, modules: Mapping[str, Module], prefix: str = "") -> Iterator[Wire]:
    """The wire of each line; `ears.audio = …` is read like `"ears.audio" = …`."""
    for key, item in table.items.items():
        if isinstance(item, dict) and "." not in key:
            yield from _written(table.table(key), modules, f"{prefix}{key}.")
            continue
        said = table.table(key) if isinstance(item, dict) else replace(table, items={"from": item})
        source, where = said.only(("from", "adapt")).items.get("from"), table.where(key)
        if not isinstance(source, str):
            what = f'the wire into "{key}" does not say where it comes from'
            fix = 'write "module.port" = "module.port", or { from = "module.port", adapt = true }'
            raise table.error(what, fix=fix, key=key)
        target = _end(prefix + key, "out", modules, where)
        yield Wire(target, _end(source, "in", modules, where), said.get("adapt", bool) or False, where)


def _end(text: str, door: str, modules: Mapping[str, Module], where: Where) -> End:
    """A module's port, or behind `door` the brain's own."""
    module, _, port = text.partition(".")
    if not (module and port):
        fix = 'write "module.port", "in.name" or "out.name"'
        raise ManifestError(f'"{text}" is not the end of a wire', fix=fix, where=where)
    one_of(module, (*modules, door), f'no module "{module}" for "{text}"', where)
    return End(module, _c_name(port, where) if module == door else port)


def _entries(table: Table, modules: Mapping[str, Module]) -> dict[str, tuple[str, ...]]:
    found = {_c_name(n, table.where(n)): tuple(map(str, called)) for n, called in table.each(list).items()}
    if len(found) > 1:
        fix = "name all modules in one entry"
        raise UnsupportedError("a brain has one entry as yet", fix=fix, where=table.where())
    for name, called in found.items():
        if sorted(called) != sorted(modules):
            fix = f"they are: {', '.join(modules)}"
            raise table.error(f"entry {name} must name every module once", fix=fix, key=name)
    return found


def _choice(table: Table, name: str, modules: Mapping[str, Module]) -> TargetChoice:
    known = [target.name for target in all_targets()]
    one_of(name, known, f'there is no target "{name}"', table.where(), "`brainc targets` lists them")
    table.only(("use", "budget", "pin"))
    use, budget = table.table("use").only(modules), table.table("budget").only(("ram", "flash", "cycles"))
    for module, variant in use.each(str).items():
        what = f'module {module} has no variant "{variant}"'
        one_of(variant, modules[module].variants, what, use.where(module))
    for key, number in budget.each(int).items():
        if number <= 0:
            raise budget.error(f"{key} in {budget} is not a number above 0", fix="write digits", key=key)
    return TargetChoice(use.each(str), Budget(**budget.each(int)), table.table("pin").each(str))
