"""TOML that remembers its lines.

The manifest knocks with a path; what leaves is a `Table` whose every complaint carries file and line.
`tomllib` does the parsing and checking; `key_lines` walks the same, by then valid, text once more and
notes the line of every key, which `tomllib` does not tell.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainc.errors import ManifestError, Where

KeyPath = tuple[str, ...]
MAX_BYTES = 1 << 20  # a longer file is not a manifest
_TOKEN = re.compile(
    r'''(?P<text>"""(?:\\.|[^\\])*?""""{0,2}|\'{3}.*?\'{3}'{0,2}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')'''
    r"""|(?P<comment>\#[^\n]*)|(?P<end>\n)|(?P<mark>[\[\]{}=,.])|(?P<bare>[^\s\[\]{}=,."'\#]+)""",
    re.DOTALL,
)


def nearest(word: str, known: Collection[str]) -> str:
    """The sentence that helps after a misspelt word."""
    close = difflib.get_close_matches(word, known, n=1)
    listed = f"known here: {', '.join(known)}" if known else "there are none here"
    return f'did you mean "{close[0]}"? {listed[0].upper()}{listed[1:]}' if close else listed


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

    def only(self, known: Collection[str]) -> None:
        """ManifestError at the first key that is not known."""
        for key in self.items:
            if key not in known:
                raise self.error(f'unknown key "{key}" in {self}', fix=nearest(key, known), key=key)

    def table(self, key: str, *, module: str | None = None) -> Table:
        """The table under `key`, an empty one if there is none."""
        items = self._typed(key, dict, "a table", "key = value lines")
        named = replace(self, module=module or self.module)
        return replace(named, path=(*self.path, key), items=items or {})

    def tables(self) -> Iterator[tuple[str, Table]]:
        """All items, which must be tables."""
        for key in self.items:
            yield key, self.table(key)

    def text(self, key: str) -> str | None:
        text: str | None = self._typed(key, str, "a text", 'quotes: "..."')
        return text

    def flag(self, key: str) -> bool | None:
        flag: bool | None = self._typed(key, bool, "true or false", "true or false, without quotes")
        return flag

    def count(self, key: str) -> int | None:
        """A whole number > 0."""
        number: int | None = self._typed(key, int, "a whole number", "digits, without quotes")
        if number is not None and (isinstance(self.items[key], bool) or number <= 0):
            raise self.error(f"{key} in {self} is not a number above 0", fix="write digits", key=key)
        return number

    def words(self, key: str) -> tuple[str, ...] | None:
        """A list of texts."""
        items = self._typed(key, list, "a list", '["a", "b"]')
        if items is not None and not all(isinstance(item, str) for item in items):
            raise self.error(f"{key} in {self} is not a list of texts", fix='write ["a", "b"]', key=key)
        return None if items is None else tuple(items)

    def texts(self) -> dict[str, str]:
        """All items, which must be texts."""
        return {key: self.text(key) or "" for key in self.items}

    def _typed(self, key: str, kind: type, name: str, form: str) -> Any:
        item = self.items.get(key)
        if item is None or isinstance(item, kind):
            return item
        raise self.error(f"{key} in {self} is not {name}", fix=f"write it with {form}", key=key)


def read(path: Path) -> Table:
    """The whole file as a table; ManifestError if it cannot be read or is not TOML."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(
            f"cannot read {path}: {error.strerror}", fix="check the path and the rights on the file"
        ) from None
    if len(raw) > MAX_BYTES:
        raise ManifestError(f"{path} is larger than 1 MB", fix="a manifest is a short text: check the path")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        where = Where(str(path), raw.count(b"\n", 0, error.start) + 1)
        raise ManifestError(
            f"byte 0x{raw[error.start]:02x} is not UTF-8 text", fix="save the file as UTF-8", where=where
        ) from None
    return _parse(text.replace("\r\n", "\n"), str(path))


def _parse(text: str, file: str) -> Table:
    try:
        items = tomllib.loads(text)
        return Table(file, (), items, key_lines(text))
    except RecursionError:
        raise ManifestError("values are nested too deep", fix="flatten them", where=Where(file)) from None
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.search(r"line (\d+)", place)
        line = int(found[1]) if found else text.rstrip().count("\n") + 1
        if "overwrite" in what:
            what, fix = "this key was given a value before", "keep one of the two (an input takes one wire)"
        else:
            what, fix = f"not valid TOML: {what}", "correct that line; see https://toml.io for the format"
        raise ManifestError(what, fix=fix, where=Where(file, line)) from None


def key_lines(text: str) -> dict[KeyPath, int]:
    """The first line (from 1) on which each key or table of a valid TOML text is written."""
    return _Scanner(text).scan()


class _Scanner:
    """Reads keys, skips values; inline tables are read like others."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.place = 0
        self.lines: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        head: KeyPath = ()
        while self.place < len(self.tokens):
            if self._skip("\n"):
                continue
            if self._skip("["):
                self._skip("[")
                head = self._key(())
                while self._skip("]"):
                    pass
            else:
                self._pair(head)
        return self.lines

    def _see(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else "\n"

    def _skip(self, mark: str) -> bool:
        found = self.place < len(self.tokens) and self._see() == mark
        self.place += found
        return found

    def _key(self, head: KeyPath) -> KeyPath:
        """A dotted key below `head`; every part of it is noted."""
        while self._see() not in ("=", "]"):
            word, line = self.tokens[self.place]
            self.place += 1
            if word != ".":
                head = (*head, _unquoted(word))
                self.lines.setdefault(head, line)
        return head

    def _pair(self, head: KeyPath) -> None:
        path = self._key(head)
        self.place += 1  # the "="
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._skip("{"):
            while not self._skip("}"):
                if not self._skip(",") and not self._skip("\n"):
                    self._pair(path)
        elif self._skip("["):
            while not self._skip("]"):
                if not self._skip(",") and not self._skip("\n"):
                    self._value(path)
        else:
            while self._see() not in (",", "]", "}", "\n"):
                self.place += 1


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """(token, line) without comments and blanks; a newline is a token."""
    line, last = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", last, match.start())
        last = match.start()
        if match.lastgroup != "comment":
            yield match[0], line


def _unquoted(word: str) -> str:
    return str(tomllib.loads(f"k = {word}")["k"]) if word[0] in "\"'" else word
