"""Compilers, what they make, and files on disk.

The proof brings generated C here and takes a `Firmware` away; `doctor` says which tools this machine has;
`write` is the only door to the user's folders. Compilers are called directly: fast, offline, and the same
on every machine that has them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

from brainc.errors import BugError, ToolFailed, ToolMissing, UserError
from brainc.resources import templates_dir
from brainc.target import Sim, Target, all_targets

WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes",
            "-Werror")
_SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
RP2040JS = "rp2040js@1.4.1"

# What a kind of simulator runs on; the packages that bring it are in target.toml.
_SIM_TOOLS = {"host": ("valgrind",), "simavr": ("gcc", "libsimavr"), "qemu": ("gcc", "qemu-system-arm"),
              "rp2040js": ("node", "rp2040js")}


@dataclass(frozen=True)
class Elf:
    """What a linked image holds: bytes of flash and of static RAM, and (address, size) of its symbols."""

    flash_bytes: int
    ram_bytes: int
    symbols: Mapping[str, tuple[int, int]]

    def symbol_at(self, address: int) -> str:
        """The function that covers `address`, or the address itself."""
        for name, (start, size) in self.symbols.items():
            if start & ~1 <= address < (start & ~1) + size:
                return name
        return f"{address:#x}"


@dataclass(frozen=True)
class Firmware:
    """A linked image and how it came to be. `toolchain` is for people and reports."""

    elf: Path
    target: Target
    sim: Sim
    flash_bytes: int
    ram_bytes: int
    toolchain: str
    sanitized: bool = False

    @cached_property
    def image(self) -> Elf:
        return read_elf(self.elf)


@dataclass(frozen=True, slots=True)
class ToolStatus:
    """One tool: where it is (None: missing), for which targets it is needed, and how to get it."""

    name: str
    path: str | None
    version: str | None
    targets: tuple[str, ...]
    install: str


def build(
    target: Target,
    sources: Sequence[Path],
    include: Sequence[Path],
    work: Path,
    *,
    sim: str | None = None,
    optimize: str = "-O2",
    sanitize: bool = False,
    compiler: str | None = None,
    defines: Sequence[str] = (),
) -> Firmware:
    """Compiles `sources` (.c, .S) and the target's own harness and links them in the folder `work`.

    `sim` picks one of the target's simulators by kind (their memory maps differ). Warnings are errors.
    Raises ToolMissing and ToolFailed; the latter names the log.
    """
    chosen = _choose(target, sim)
    chain = target.toolchain
    cc = compiler or chain.cc
    find_tool(cc, packages=chain.packages)
    work.mkdir(parents=True, exist_ok=True)
    base = [cc, optimize, *chain.flags, *(_SANITIZE if sanitize else ())]
    c_only = [f"-std={chain.std}", *WARNINGS]
    places = [f"-I{path}" for path in (*include, templates_dir())]
    harness = [_own_file(target, name) for name in chain.sources]
    objects = []
    named = [*((f"{i:03d}_", s) for i, s in enumerate(sources)), *(("sim_", s) for s in harness)]
    for prefix, source in named:
        objects.append(work / f"{prefix}{source.stem}.o")
        _compile([*base, *(c_only if source.suffix == ".c" else ()), *places, *(f"-D{d}" for d in defines),
                  "-c", str(source), "-o", str(objects[-1])], work, f"{source.name} for {target.name}")
    elf = work / "firmware.elf"
    _compile([*base, *map(str, objects), "-o", str(elf), "-Wl,--gc-sections", *_link_script(target, chosen),
              *chain.link], work, f"the image for {target.name}")
    image = read_elf(elf)
    told = " ".join((Path(cc).name, version(cc) or "?", *base[1:]))
    return Firmware(elf, target, chosen, image.flash_bytes, image.ram_bytes, told, sanitize)


def _choose(target: Target, kind: str | None) -> Sim:
    if target.abstract:
        raise UserError(f"target {target.name} is only for others to extend",
                        fix=f"choose from {', '.join(t.name for t in all_targets())}")
    found = next((s for s in target.sims if kind in (None, s.kind)), None)
    if found is None:
        kinds = ", ".join(s.kind for s in target.sims) or "none"
        raise UserError(f"target {target.name} has no simulator {kind or ''}".rstrip(),
                        fix=f"there are: {kinds}")
    return found


def _own_file(target: Target, relative: str) -> Path:
    path = target.find(relative)
    if path is None:
        raise UserError(f"target {target.name} names {relative}, which none of its folders has",
                        fix="correct its target.toml, or add the file")
    return path


def _link_script(target: Target, sim: Sim) -> list[str]:
    """Flags for the target's `sim/link.ld`, if its simulator has a memory map."""
    if not sim.memory:
        return []
    values = {f"BR_{name.upper()}{suffix}": value for name, region in sim.memory.items()
              for suffix, value in zip(("", "_BYTES"), region, strict=True)}
    script = _own_file(target, "sim/link.ld")
    return [*(f"-Wl,--defsym={name}={value:#x}" for name, value in values.items()), f"-Wl,-T,{script}"]


def _compile(command: Sequence[str], work: Path, what: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        log = work / "build.log"
        log.write_text(" ".join(command) + "\n" + done.stdout + done.stderr, encoding="utf-8")
        tail = "\n".join((done.stderr or done.stdout).splitlines()[-12:])
        raise ToolFailed(f"{Path(command[0]).name} could not build {what}:\n{tail}",
                         fix=f"the whole log is {log}")


def helper(source: Path, *flags: str, libraries: Sequence[str] = (), packages: Sequence[str] = ()) -> Path:
    """A program or plugin of ours for this machine, compiled once and kept in the user's cache."""
    cc = find_tool("gcc", packages=packages)
    recipe = "\0".join((source.read_text(encoding="utf-8"), version(cc) or "", *flags, *libraries))
    made = cache_dir() / f"{source.stem}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if made.exists():
        return made
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as work:
            fresh = Path(work) / made.name
            _compile([cc, "-O2", *WARNINGS[:2], *flags, str(source), "-o", str(fresh), *libraries],
                     made.parent, source.name)
            os.replace(fresh, made)
    except OSError as error:
        raise ToolFailed(f"cannot keep {made.name} in {made.parent}: {error}",
                         fix="set XDG_CACHE_HOME to a folder that can be written") from error
    return made


def cache_dir() -> Path:
    """Where what can be made again is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainc"


def node_packages() -> Path:
    """The folder that JavaScript packages are installed under: the virtual environment's, else the cache."""
    own = Path(sys.prefix) / "share" / "brainc" / "node"
    return own if sys.prefix != sys.base_prefix else cache_dir() / "node"


def locate(name: str) -> str | None:
    """Where a tool is: a program, or for `libsimavr` its header, for `rp2040js` its folder."""
    if name == "libsimavr":
        places = [Path(root) / "include/simavr/sim_avr.h" for root in ("/usr", "/usr/local", "/opt/homebrew")]
    elif name == "rp2040js":
        places = [node_packages() / "node_modules" / "rp2040js" / "package.json"]
    else:
        places = [Path(sys.prefix) / "bin" / name]  # first: the environment may not be activated
    found = next((str(p) for p in places if p.exists()), None)
    return found or shutil.which(name)


def find_tool(name: str, *, packages: Sequence[str]) -> str:
    """Where a tool is, or ToolMissing with the command that brings it."""
    found = locate(name)
    if found is None:
        raise ToolMissing(f"{name} is not installed", fix=_install(name, packages))
    return found


def _install(name: str, packages: Sequence[str]) -> str:
    if name == "rp2040js":
        return f"npm install --prefix {node_packages()} {RP2040JS}"
    if name == "pio":
        return "pip install platformio"
    return f"on Debian and Ubuntu: apt-get install {' '.join(packages)}"


@cache
def version(program: str) -> str | None:
    """The first x.y.z that `program --version` prints."""
    try:
        done = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else None


def doctor() -> tuple[ToolStatus, ...]:
    """Every tool that some target needs, sorted by name."""
    needs: dict[str, tuple[list[str], Sequence[str]]] = {}
    for target in all_targets():
        wanted = [(target.toolchain.cc, target.toolchain.packages)]
        wanted += [(tool, sim.packages) for sim in target.sims for tool in _SIM_TOOLS[sim.kind]]
        wanted += [("pio", ())] if target.board else []
        for tool, packages in wanted:
            users, _ = needs.setdefault(tool, ([], packages))
            if target.name not in users:
                users.append(target.name)
    return tuple(ToolStatus(name, locate(name), _version_of(name), tuple(users), _install(name, packages))
                 for name, (users, packages) in sorted(needs.items()))


def _version_of(name: str) -> str | None:
    path = locate(name)
    if path is None or name == "libsimavr":
        return None
    if name == "rp2040js":
        found = re.search(r'"version": "([^"]+)"', Path(path).read_text(encoding="utf-8"))
        return found[1] if found else None
    return version(path)


def read_elf(path: Path) -> Elf:
    """Sizes and symbols of a little-endian ELF, 32 or 64 bits (System V ABI, chapter 4)."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise BugError(f"{path} is not a little-endian ELF", fix="report it with the compiler's version")
    wide = data[4] == 2
    (table,) = struct.unpack_from("<Q", data, 40) if wide else struct.unpack_from("<I", data, 32)
    entry, count = struct.unpack_from("<HH", data, 58 if wide else 46)
    # A section: name, type, flags, address, offset, size, link, info, alignment, size of an entry.
    layout = "<IIQQQQIIQQ" if wide else "<IIIIIIIIII"
    sections = [struct.unpack_from(layout, data, table + i * entry) for i in range(count)]
    held = [s for s in sections if s[2] & 2]  # SHF_ALLOC
    return Elf(flash_bytes=sum(s[5] for s in held if s[1] != 8),  # SHT_NOBITS lies in no flash
               ram_bytes=sum(s[5] for s in held if s[2] & 1),  # SHF_WRITE
               symbols=_symbols(data, sections, wide))


def _symbols(data: bytes, sections: Sequence[tuple[int, ...]], wide: bool) -> dict[str, tuple[int, int]]:
    out: dict[str, tuple[int, int]] = {}
    for section in (s for s in sections if s[1] == 2):  # SHT_SYMTAB
        names = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], section[9]):
            if wide:
                name, _, _, _, address, size = struct.unpack_from("<IBBHQQ", data, at)
            else:
                name, address, size, _, _, _ = struct.unpack_from("<IIIBBH", data, at)
            text = data[names + name:data.index(b"\0", names + name)].decode("utf-8", "replace")
            if text:
                out[text] = (address, size)
    return out


def write(directory: Path, files: Mapping[str, bytes | Iterable[bytes]]) -> None:
    """Puts `files` (relative path to content, or chunks of it) under `directory`.

    They are written beside and renamed at the end, so a failure on the way leaves the old files alone.
    """
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BugError(f"file name {name!r} leaves its folder", fix="report it with the brain")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".brainc-") as beside:
            for name, content in files.items():
                fresh = Path(beside) / name
                fresh.parent.mkdir(parents=True, exist_ok=True)
                with fresh.open("wb") as out:
                    out.writelines([content] if isinstance(content, bytes) else content)
            for name in files:
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(beside) / name, directory / name)
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error}", fix="choose another folder") from error
