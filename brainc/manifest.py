"""What the user wants compiled: `brain.toml`, or a bare model file, as a frozen `Brain`.

The command line knocks with a path. The manifest is checked as far as text can be: keys, kinds, port
types, paths (never outside the brain's folder), variants. `link.py` checks what needs the models.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any

from brainc.brain import Brain, Budget, End, Module, PortSpec, Quantise, TargetChoice, Wire, port_type
from brainc.c_names import c_identifier
from brainc.errors import ManifestError, UnsupportedError, Where, at
from brainc.target import all_targets
from brainc.toml_lines import Table, nearest, read

FILE = "brain.toml"
KINDS = ("onnx",)
LATER = ("tflite", "gguf", "trees", "extern", "builtin")
METRICS = ("top1", "auc_error", "mse")
_VARIANT_KEYS = ("kind", "file", "license", "share", "in", "out", "samples", "calibrate", "metric", "quant")
_MODULE_KEYS = (*_VARIANT_KEYS, "adapt", "variants")
_BRAIN_KEYS = ("name", "entries", "extensions", "samples", "calibrate", "metric")
_QUANT = {"weights": ("i8", "f32"), "per": ("channel",), "calibration": ("minmax", "percentile", "mse")}
_C_FIX = "use letters, digits and single underscores, a letter first, and no word of C"
_IDENTIFIER = re.compile(r"[A-Za-z]\w*", re.ASCII)


def load(source: Path) -> Brain:
    """The brain at `source`: a folder with brain.toml, that file, or a model file (a brain of one module)."""
    if source.is_dir():
        source = source / FILE
    if not source.is_file():
        raise ManifestError(
            f"there is no file {source}",
            fix=f"name a folder with {FILE}, that file, or a model file (.{', .'.join(KINDS)})",
        )
    if source.suffix == ".toml":
        return _brain(read(source), source.parent)
    name = c_identifier(source.stem)
    kind = _kind(source.suffix[1:], Where(str(source)))
    module = Module(name, kind, source)
    return Brain(name, source.parent, MappingProxyType({name: module}), bare=True, where=Where(str(source)))


def _kind(word: str, where: Where) -> str:
    if word in LATER:
        raise UnsupportedError(
            f'brainc cannot read modules of kind "{word}" yet',
            fix=f"available: {', '.join(KINDS)}; convert the model if you can",
            where=where,
        )
    if word not in KINDS:
        raise ManifestError(f'unknown kind of model "{word}"', fix=nearest(word, KINDS), where=where)
    return word


def _brain(top: Table, folder: Path) -> Brain:
    top.only(("brain", "modules", "wires", "target"))
    head = top.table("brain")
    head.only(_BRAIN_KEYS)
    name = head.text("name")
    if name is not None:
        _identifier(head, "name", name)
    if head.words("extensions"):
        raise UnsupportedError(
            "brainc cannot load extensions yet", fix="remove the line", where=head.where("extensions")
        )
    modules = {key: _module(table, key, folder) for key, table in top.table("modules").tables()}
    if not modules:
        raise top.error("a brain needs a module", fix='add [modules.NAME] with file = "model.onnx"')
    wires = tuple(_wires(top.table("wires"), modules))
    if len(modules) > 1 and not wires:
        raise top.error(
            f"nothing says how {', '.join(modules)} are wired",
            fix='add [wires] with "module.port" = "in.name"',
        )
    choices = {key: _choice(table, modules) for key, table in top.table("target").tables()}
    _known_targets(top.table("target"))
    return Brain(
        name or c_identifier(folder.resolve().name),
        folder,
        MappingProxyType(modules),
        wires,
        MappingProxyType(_entries(head.table("entries"), modules)),
        MappingProxyType(choices),
        where=Where(top.file),
        **_data(head, folder, modules),
    )


def _identifier(table: Table, key: str, name: str) -> None:
    """A name that goes into C must be an identifier, and none that C has taken."""
    if not _fit_for_c(name):
        raise table.error(f'"{name}" cannot be a name in C', fix=_C_FIX, key=key)


def _fit_for_c(name: str) -> bool:
    return c_identifier(name) == name


def _data(head: Table, folder: Path, modules: Mapping[str, Module]) -> dict[str, Any]:
    """Samples and metric: the brain's own words, else those of the only module that has any."""
    said = {
        "samples": _path(head, "samples", folder),
        "calibrate": _path(head, "calibrate", folder),
        "metric": _metric(head, folder),
    }
    for key, value in said.items():
        theirs = [v for m in modules.values() if (v := getattr(m, key)) is not None]
        if value is None and len(theirs) == 1:
            said[key] = theirs[0]
    return said


def _module(table: Table, name: str, folder: Path) -> Module:
    table = replace(table, module=name)
    if name in ("in", "out") or not _IDENTIFIER.fullmatch(name):
        raise table.error(
            f'"{name}" cannot name a module',
            fix='use letters, digits and underscores; "in" and "out" are taken',
        )
    said = _settings(table, folder, _MODULE_KEYS)
    if "file" not in said:
        raise table.error("the module has no file", fix='add file = "model.onnx"')
    base = Module(name, **said, adapt=table.flag("adapt") or False, where=table.where())
    variants = {
        key: replace(base, **_settings(variant, folder, _VARIANT_KEYS), where=variant.where())
        for key, variant in table.table("variants").tables()
    }
    return replace(base, variants=MappingProxyType(variants))


def _settings(table: Table, folder: Path, known: tuple[str, ...]) -> dict[str, Any]:
    """What a module or variant says itself, as fields of `Module`."""
    kind = table.text("kind")  # first: a kind that comes later has keys of its own
    if kind is not None:
        _kind(kind, table.where("kind"))
    table.only(known)
    file = _path(table, "file", folder)
    if kind is None and file is not None:
        kind = _kind(file.suffix[1:], table.where("file"))
    said = {
        "kind": kind,
        "file": file,
        "license": table.text("license"),
        "share": table.flag("share"),
        "inputs": _ports(table.table("in")) or None,
        "outputs": _ports(table.table("out")) or None,
        "samples": _path(table, "samples", folder),
        "calibrate": _path(table, "calibrate", folder),
        "metric": _metric(table, folder),
        "quant": _quant(table.table("quant")) if "quant" in table.items else None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _ports(table: Table) -> tuple[PortSpec, ...]:
    ports = []
    for name, text in table.texts().items():
        where = table.where(name)
        with at(file=where.file, line=where.line, module=where.module):
            ports.append(PortSpec(name, port_type(text), where))
    return tuple(ports)


def _quant(table: Table) -> Quantise:
    table.only(_QUANT)
    said = table.texts()
    for key, word in said.items():
        if word not in _QUANT[key]:
            raise table.error(f'{key} = "{word}" is not available', fix=nearest(word, _QUANT[key]), key=key)
    weights = {None: None, "i8": "int8", "f32": "none"}[said.get("weights")]
    return Quantise(weights, said.get("calibration"))


def _metric(table: Table, folder: Path) -> str | None:
    """A metric's name, or FILE.py:function with FILE.py inside the folder."""
    metric = table.text("metric")
    if metric is None or metric in METRICS:
        return metric
    file, colon, function = metric.rpartition(":")
    if not (colon and file.endswith(".py") and function.isidentifier()):
        known = (*METRICS, "FILE.py:function")
        raise table.error(f'unknown metric "{metric}"', fix=nearest(metric, known), key="metric")
    return f"{_inside(table, 'metric', file, folder)}:{function}"


def _path(table: Table, key: str, folder: Path) -> Path | None:
    written = table.text(key)
    return None if written is None else _inside(table, key, written, folder)


def _inside(table: Table, key: str, written: str, folder: Path) -> Path:
    """A file of the brain's folder; absolute paths, `..` and links that lead out are refused."""
    foreign = PureWindowsPath(written)
    plain = not (foreign.anchor or PurePosixPath(written).is_absolute() or "\0" in written)
    path = folder / written
    if not plain or ".." in foreign.parts or not _below(path, folder):
        raise table.error(
            f'"{written}" lies outside the brain\'s folder',
            fix="copy the file into the folder and name it from there",
            key=key,
        )
    if not os.path.isfile(path):  # unlike Path.is_file, no exception for a name that is too long
        raise table.error(
            f'there is no file "{written}"', fix=f"paths start at the folder of {FILE}", key=key
        )
    return path


def _below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _wires(table: Table, modules: Mapping[str, Module]) -> list[Wire]:
    found: dict[End, Wire] = {}
    for target, source, adapt, where in _written_wires(table):
        wire = Wire(_end(target, where), _end(source, where), adapt, where)
        _known_ends(wire, modules)
        if wire.target in found:
            raise ManifestError(
                f"two wires lead into {wire.target}, the other in line {found[wire.target].where.line}",
                fix="keep one of them: an input takes one wire",
                where=where,
            )
        wants = wire.target.module in modules and modules[wire.target.module].adapt
        found[wire.target] = replace(wire, adapt=adapt or wants)
    return list(found.values())


def _written_wires(table: Table) -> list[tuple[str, str, bool, Where]]:
    """(target, source, adapt, where) of each line; `ears.audio = …` is read like `"ears.audio" = …`."""
    rows: list[tuple[str, str, bool, Where]] = []
    for key, value in table.items.items():
        if isinstance(value, dict) and "." not in key:
            inner = _written_wires(table.table(key))
            rows += [(f"{key}.{port}", source, adapt, where) for port, source, adapt, where in inner]
            continue
        source, adapt = value, False
        if isinstance(value, dict):
            wire = table.table(key)
            wire.only(("from", "adapt"))
            source, adapt = wire.text("from"), wire.flag("adapt") or False
        if not isinstance(source, str):
            raise table.error(
                f'the wire into "{key}" does not say where it comes from',
                fix='write "module.port" = "module.port", or { from = "module.port", adapt = true }',
                key=key,
            )
        rows.append((key, source, adapt, table.where(key)))
    return rows


def _end(text: str, where: Where) -> End:
    module, dot, port = text.partition(".")
    if not (module and dot and port):
        raise ManifestError(
            f'"{text}" is not the end of a wire',
            fix='write "module.port", "in.name" or "out.name"',
            where=where,
        )
    return End(module, port)


def _known_ends(wire: Wire, modules: Mapping[str, Module]) -> None:
    for end, door in ((wire.target, "out"), (wire.source, "in")):
        if end.module not in modules and end.module != door:
            raise ManifestError(
                f'no module "{end.module}" for "{end}"',
                fix=nearest(end.module, [*modules, door]),
                where=wire.where,
            )
        if end.module == door and not _fit_for_c(end.port):
            raise ManifestError(f'"{end.port}" cannot be a name in C', fix=_C_FIX, where=wire.where)


def _entries(table: Table, modules: Mapping[str, Module]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in table.items:
        _identifier(table, name, name)
        found[name] = table.words(name) or ()
        for module in found[name]:
            if module not in modules:
                raise table.error(f'no module "{module}"', fix=nearest(module, modules), key=name)
    if len(found) > 1:
        raise UnsupportedError(
            "a brain has one entry as yet", fix="name all modules in one entry", where=table.where()
        )
    for name, called in found.items():
        if sorted(called) != sorted(modules):
            raise table.error(
                f"entry {name} must name every module once", fix=f"they are: {', '.join(modules)}", key=name
            )
    return found


def _choice(table: Table, modules: Mapping[str, Module]) -> TargetChoice:
    table.only(("use", "budget", "pin"))
    use, budget = table.table("use"), table.table("budget")
    for module, variant in use.texts().items():
        use.only(modules)
        variants = modules[module].variants
        if variant not in variants:
            raise use.error(
                f'module {module} has no variant "{variant}"', fix=nearest(variant, variants), key=module
            )
    budget.only(("ram", "flash", "cycles"))
    limits = Budget(**{key: budget.count(key) for key in budget.items})
    uses, pins = MappingProxyType(use.texts()), MappingProxyType(table.table("pin").texts())
    return TargetChoice(uses, limits, pins, table.where())


def _known_targets(table: Table) -> None:
    known = [target.name for target in all_targets()] if table.items else []
    for name in table.items:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise table.error(
                f'there is no target "{name}"',
                fix=(f'did you mean "{close[0]}"? ' if close else "") + "`brainc targets` lists them",
                key=name,
            )
