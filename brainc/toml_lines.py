"""TOML that remembers its lines.

The manifest knocks with a path; what leaves is a `Table` whose every complaint carries file and line.
`tomllib` parses and checks; `key_lines` walks the same, by then valid, text once more for the lines.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from brainc.errors import ManifestError, Where, at

KeyPath = tuple[str, ...]
MAX_BYTES = 1 << 20  # a longer file is not a manifest
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?""""{0,2}|\'{3}.*?\'{3}'{0,2}|"(?:\\.|[^"\\\n])*"|'[^'\n]*\''''
    r"""|\#[^\n]*|[\n\[\]{}=,.]|[^\s\[\]{}=,."'\#]+""",
    re.DOTALL,
)
_KINDS = {
    dict: ("a table", "key = value lines"),
    str: ("a text", 'quotes: "..."'),
    bool: ("true or false", "true or false, without quotes"),
    int: ("a whole number", "digits, without quotes"),
    list: ("a list", '["a", "b"]'),
}
_T = TypeVar("_T")


def one_of(word: str, known: Collection[str], what: str, where: Where | None = None, listed: str = "") -> str:
    """`word`, if it is known; else a ManifestError with the nearest one and `listed`, or all of them."""
    if word in known:
        return word
    listed = listed or (f"known here: {', '.join(known)}" if known else "there are none here")
    for close in difflib.get_close_matches(word, known, n=1):
        listed = f'did you mean "{close}"? {listed[0].upper()}{listed[1:]}'
    raise ManifestError(what, fix=listed, where=where)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a TOML file: its items and where they stand; `module` is named in every complaint."""

    file: str
    path: KeyPath
    items: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    module: str | None = None

    def __str__(self) -> str:
        return f"[{'.'.join(self.path)}]" if self.path else "the manifest"

    def where(self, key: str | None = None) -> Where:
        """The place of a key, or of the table itself; of what holds it if it is not written."""
        path = self.path if key is None else (*self.path, key)
        while path and path not in self.lines:
            path = path[:-1]
        return Where(self.file, self.lines.get(path, 1), self.module)

    def error(self, what: str, *, fix: str, key: str | None = None) -> ManifestError:
        return ManifestError(what, fix=fix, where=self.where(key))

    def only(self, known: Collection[str]) -> Table:
        """Itself; ManifestError at the first key that is not known."""
        for key in self.items:
            one_of(key, known, f'unknown key "{key}" in {self}', self.where(key))
        return self

    def get(self, key: str, kind: type[_T]) -> _T | None:
        """The item, None if there is none; ManifestError if it is of another kind."""
        item = self.items.get(key)
        if item is None or type(item) is kind:  # not isinstance: True is no whole number
            return item
        name, form = _KINDS[kind]
        raise self.error(f"{key} in {self} is not {name}", fix=f"write it with {form}", key=key)

    def each(self, kind: type[_T]) -> dict[str, _T]:
        """All items, which must be of one kind."""
        return {key: item for key in self.items if (item := self.get(key, kind)) is not None}

    def table(self, key: str) -> Table:
        """The table under `key`, an empty one if there is none."""
        return replace(self, path=(*self.path, key), items=self.get(key, dict) or {})

    def tables(self) -> dict[str, Table]:
        """All items, which must be tables."""
        return {key: self.table(key) for key in self.items}


def read(path: Path) -> Table:
    """The whole file as a table; ManifestError if it is not TOML."""
    with at(file=str(path)):
        text = _text(path)
        try:
            return Table(str(path), (), tomllib.loads(text), key_lines(text))
        except RecursionError:
            raise ManifestError("values are nested too deep", fix="flatten them") from None
        except tomllib.TOMLDecodeError as error:
            raise _not_toml(str(error), text) from None


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ManifestError(f"{path} is larger than 1 MB", fix="a manifest is a short text: check the path")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        what, line = f"byte 0x{raw[error.start]:02x} is not UTF-8 text", raw.count(b"\n", 0, error.start) + 1
        raise ManifestError(what, fix="save the file as UTF-8", where=Where(line=line)) from None


def _not_toml(message: str, text: str) -> ManifestError:
    """What `tomllib` says, "... (at line 3, column 1)" or "... (at end of document)", in our words."""
    what, _, place = message.partition(" (at ")
    found = re.search(r"line (\d+)", place)
    where = Where(line=int(found[1]) if found else text.rstrip().count("\n") + 1)
    if "overwrite" in what:
        fix = "keep one of the two (an input takes one wire)"
        return ManifestError("this key was given a value before", fix=fix, where=where)
    fix = "correct that line; see https://toml.io for the format"
    return ManifestError(f"not valid TOML: {what}", fix=fix, where=where)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The first line (from 1) on which each key or table of a valid TOML text is written."""
    lines: dict[KeyPath, int] = {}
    line, in_key = 1, True
    head: KeyPath = ()  # of the last [table]
    path: KeyPath = ()  # the key being read, or the one whose value is being read
    around: list[tuple[str, KeyPath]] = []  # the brackets we are in, each with the key that it belongs to
    for token in _TOKEN.findall(text):
        match token:
            case "\n" if not around:
                path, in_key = head, True
            case "[" if in_key:
                path = ()
            case "]" if in_key:
                head = path
            case "[" | "{":
                around.append((token, path))
                in_key = token == "{"
            case "]" | "}":
                path, in_key = around.pop()[1], False
            case "," if around[-1][0] == "{":
                path, in_key = around[-1][1], True
            case "=":
                in_key = False
            case _ if in_key and token[0] not in ".#\n":
                path = (*path, tomllib.loads(f"k = {token}")["k"] if token[0] in "\"'" else token)
                lines.setdefault(path, line)
        line += token.count("\n")
    return lines
