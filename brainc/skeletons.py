"""Beginnings: the files of a new brain, op, kernel or target, which work as they are.

`brainc new` knocks with a kind and a name; a mapping of path (from the current folder) to bytes leaves.
`templates/skeletons/KIND/` mirrors what comes out: NAME, in paths and in texts, is the new thing's name,
and the `.txt` that keeps a skeleton from being taken for the real thing is dropped.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping

from brainc import kernels, ops
from brainc.c_names import c_identifier
from brainc.errors import UserError
from brainc.resources import targets_dir, templates_dir
from brainc.target import load_target

_LOWER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
_DASHED = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
_IN_USE = frozenset({"np", "op", *keyword.kwlist, *keyword.softkwlist, *dir(builtins)})


def make(kind: str, name: str) -> Mapping[str, bytes]:
    """The files of a new `kind` ("brain", "op", "kernel" or "target") called `name`: path to bytes.

    A kernel's name is TARGET/OP/FILE. Ops, kernels and targets belong into a checkout of brainc and are
    found there by themselves. UserError: the name cannot be one, or is taken.
    """
    makers = {"brain": _brain, "op": _op, "kernel": _kernel, "target": _target}
    if kind not in makers:
        raise UserError(f"there is no skeleton of a {kind}", fix=f"there are: {', '.join(makers)}")
    return makers[kind](name)


def _brain(name: str) -> Mapping[str, bytes]:
    if c_identifier(name) != name:
        raise UserError(
            f'"{name}" cannot name a brain, since its C functions will be called so',
            fix=f"use letters, digits and underscores, and no word of C: {c_identifier(name)}",
        )
    return _filled("brain", name)


def _op(name: str) -> Mapping[str, bytes]:
    if not _LOWER.fullmatch(name) or name in _IN_USE:
        raise UserError(
            f'"{name}" cannot name an op', fix="use small letters, digits and underscores, no word of Python"
        )
    if name in ops.all_ops():
        raise UserError(f"there is an op {name} already", fix="choose another name")
    return _filled("qop" if name.startswith("q") else "op", name)


def _target(name: str) -> Mapping[str, bytes]:
    if not _DASHED.fullmatch(name):
        raise UserError(f'"{name}" cannot name a target', fix="use small letters, digits and dashes")
    if (targets_dir() / name).exists():
        raise UserError(f"there is a target {name} already", fix="choose another name")
    return _filled("target", name)


def _kernel(name: str) -> Mapping[str, bytes]:
    """A copy of the portable kernel: as fast as that one, and preferred to it from now on."""
    target, op, file = name.split("/") if name.count("/") == 2 else ("", "", "")
    if not _LOWER.fullmatch(file):
        raise UserError(
            f'"{name}" cannot name a kernel',
            fix="write TARGET/OP/FILE in small letters, as in cortex-m4/qdense/i8_fast",
        )
    machine, meaning = load_target(target), ops.get(op)
    portable = [k for k in kernels.scan(templates_dir(), "c", 0) if k.op == meaning.name]
    if not portable:
        raise UserError(f"op {op} needs no kernel", fix="choose an op that computes something")
    base = max(portable, key=lambda k: len(k.stem) * file.startswith(k.stem))  # `i8` for `i8_fast`
    head, mark, body = base.path.read_text(encoding="utf-8").partition("---*/\n")
    note = f"/* Begun as a copy of {base.name}, which it now stands before on {machine.name}. */\n"
    return {f"targets/{machine.name}/kernels/{op}/{file}.c.j2": f"{head}{mark}{note}{body}".encode()}


def _filled(kind: str, name: str) -> Mapping[str, bytes]:
    """The files of a skeleton's folder, with its name filled in."""
    root = templates_dir() / "skeletons" / kind
    files = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        inside, content = path.relative_to(root).as_posix().replace("NAME", name), path.read_bytes()
        if path.suffix == ".txt":
            inside, content = inside.removesuffix(".txt"), content.replace(b"NAME", name.encode())
        files[inside] = content
    return files
