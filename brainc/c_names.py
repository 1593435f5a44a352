"""Names for C: any text to an identifier, never the same one twice.

Used by the emitter for the brain, its ports and its constants. Keywords, leading digits and characters
that C does not know are mended; what collides gets a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from brainc.resources import templates_dir

# fmt: off
_KEYWORDS = frozenset({
    "alignas", "alignof", "and", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch",
    "char", "class", "compl", "concept", "const", "constexpr", "continue", "decltype", "default",
    "delete", "do", "double", "else", "enum", "explicit", "export", "extern", "false", "float", "for",
    "friend", "goto", "if", "inline", "int", "linux", "long", "main", "mutable", "namespace", "new",
    "noexcept", "not", "nullptr", "operator", "or", "private", "protected", "public", "register",
    "requires", "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch",
    "template", "this", "throw", "true", "try", "typedef", "typeid", "typename", "typeof", "union",
    "unix", "unsigned", "using", "virtual", "void", "volatile", "while", "xor",
})  # of C and C++, and what compilers define in small letters
# A file NAME.h of these names would be found in place of the C library's, Arduino's or our own.
_HEADERS = frozenset({
    "arduino", "assert", "complex", "ctype", "errno", "features", "fenv", "float", "harness", "inttypes",
    "limits", "locale", "malloc", "math", "memory", "null", "pthread", "setjmp", "signal", "stdarg",
    "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "strings", "threads", "time", "unistd",
    "wchar",
})
# NAME_t would be a type of the C library's.
_TYPES = frozenset({
    *(f"{sign}int{kind}{bits}" for sign in ("", "u") for kind in ("", "_least", "_fast") for bits in (8, 16, 32, 64)),
    "blkcnt", "blksize", "char16", "char32", "char8", "clock", "clockid", "dev", "div", "double", "float",
    "fpos", "gid", "id", "imaxdiv", "ino", "intmax", "intptr", "key", "ldiv", "lldiv", "loff", "max_align",
    "mbstate", "mode", "nlink", "nullptr", "off", "off64", "pid", "ptrdiff", "quad", "regex", "sig_atomic",
    "sigset", "size", "socklen", "ssize", "stack", "suseconds", "time", "timer", "u_int8", "u_int16", "u_int32",
    "u_int64", "u_quad", "uid", "uintmax", "uintptr", "useconds", "wchar", "wctrans", "wctype", "wint",
})
# What NAME.h and NAME.c call something of their own, where ports are parameters and parts of names.
_OURS = ("at", "brain", "init", "m", "memcpy", "memset", "null", "ram", "t")
# fmt: on
_LONGEST = 40


def c_identifier(text: str) -> str:
    """`text` as a C identifier: `serving_default:0` becomes `serving_default_0`."""
    name = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_") or "x"
    if len(name) > _LONGEST:  # the end of a path says more than its beginning
        name = name[-_LONGEST:].lstrip("_")
    if name[0].isdigit():
        name = "n" + name
    return name + "_" if name.lower() in _KEYWORDS else name


@cache
def _runtime() -> frozenset[str]:
    """Files that lie beside NAME.c and NAME.h in the folder of a language model."""
    return frozenset(path.stem for path in (templates_dir() / "runtime").iterdir())


def c_file_name(text: str) -> str:
    """`text` as an identifier that also names files and a type, and begins others' names: `math` becomes `math_`."""
    name = c_identifier(text)
    small = name.lower()
    return name + "_" if small in _HEADERS | _TYPES | _runtime() or small == "br" or small.startswith("br_") else name


class Names:
    """Hands out identifiers that differ from each other and from those reserved."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in reserved}
        self._given: dict[str, str] = {}

    def of(self, text: str) -> str:
        """The identifier of `text`; the same text always gets the same one."""
        if text not in self._given:
            name = wanted = c_identifier(text)
            number = 2
            while name.lower() in self._taken:
                name, number = f"{wanted}_{number}", number + 1
            self._taken.add(name.lower())
            self._given[text] = name
        return self._given[text]


def port_names(ports: Iterable[str], reserved: Iterable[str]) -> dict[str, str]:
    """Identifiers for ports, which are parameters in NAME.h and NAME.c and parts of other names there."""
    names = Names([*_OURS, *reserved])
    return {port: _parameter(names.of(port)) for port in ports}


def _parameter(name: str) -> str:
    """Capitals alone may be anybody's macro (ADC, INPUT); what begins with br_ is ours."""
    if name.lower().startswith("br_"):
        return name + "_"
    return name.lower() if name.isupper() else name
