"""Compilers, what they make, and files on disk.

The proof brings generated C here and takes a `Firmware` away; `doctor` says which tools this machine has;
`write` is the only door to the user's folders. Compilers are called directly: fast, offline, and the same
on every machine that has them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from brainc.errors import BugError, DeviceError, FitError, ToolFailed, ToolMissing, UserError
from brainc.resources import templates_dir
from brainc.target import Sim, Target, all_targets

_CHECKS = ("all", "extra", "shadow", "conversion", "strict-prototypes", "missing-prototypes", "error")
WARNINGS = tuple(f"-W{name}" for name in _CHECKS)
_NO_ROOM = re.compile(r"is not within region|region .* overflowed|will not fit in region|section .* overlaps")
_SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
WEIGHTS = ".weights"  # a file that is read when the brain starts
RP2040JS = "rp2040js@1.4.1"
CACHE = "set XDG_CACHE_HOME to a folder that can be written"  # where what can be made again has no place

# What a kind of simulator runs on; the packages that bring it are in target.toml.
_SIM_TOOLS = {
    "host": ("valgrind",),
    "simavr": ("gcc", "libsimavr"),
    "qemu": ("gcc", "qemu-system-arm"),
    "rp2040js": ("node", "rp2040js"),
}


@dataclass(frozen=True)
class Elf:
    """What a linked image holds: bytes of flash and of static RAM, and (address, size) of its symbols."""

    flash_bytes: int
    ram_bytes: int
    symbols: Mapping[str, tuple[int, int]]

    def symbol_at(self, address: int) -> str:
        """The function that covers `address`, or the address itself."""
        found = (n for n, (start, size) in self.symbols.items() if 0 <= address - (start & ~1) < size)
        return next(found, f"{address:#x}")


@dataclass(frozen=True)
class Firmware:
    """A linked image and how it came to be. `toolchain` is for people and reports."""

    elf: Path
    target: Target
    sim: Sim
    image: Elf
    toolchain: str
    sanitized: bool = False
    roomy: bool = False  # linked for more memory than the machine has


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
    optimize: str | None = None,
    sanitize: bool = False,
    roomy: bool = False,
    compiler: str | None = None,
    defines: Sequence[str] = (),
) -> Firmware:
    """Compiles `sources` (.c, .S) and the target's own harness and links them in the folder `work`.

    `sim` picks one of the target's simulators by kind (their memory maps differ); `optimize` is the target's
    own level unless another is given; `roomy` links what the machine has no room for. Warnings are errors.
    Raises ToolMissing and ToolFailed; the latter names the log.
    """
    chosen, chain = _choose(target, sim), target.toolchain
    cc = compiler or chain.cc
    find_tool(cc, packages=chain.packages)
    work.mkdir(parents=True, exist_ok=True)
    flags = [optimize or chain.optimize, *chain.flags, *(_SANITIZE if sanitize else ())]
    given = [*(f"-I{path}" for path in include), f"-iquote{templates_dir()}", *(f"-D{d}" for d in defines)]
    named = [(f"{number:03d}_{source.stem}.o", source) for number, source in enumerate(sources)]
    named += [(f"sim_{source.stem}.o", source) for source in map(target.file, chain.sources)]
    for name, source in named:
        strict = [f"-std={chain.std}", *WARNINGS] if source.suffix == ".c" else []
        command = [cc, *flags, *strict, *given, "-c", str(source), "-o", str(work / name)]
        _compile(command, f"{source.name} for {target.name}")
    elf, objects = work / "firmware.elf", [str(work / name) for name, _ in named]
    last = ["-Wl,--gc-sections", *_link_script(target, chosen), *chain.link, *(chain.roomy if roomy else ())]
    _compile([cc, *flags, *objects, "-o", str(elf), *last], f"the image for {target.name}")
    told = " ".join((Path(cc).name, version(cc) or "?", *flags))
    return Firmware(elf, target, chosen, read_elf(elf), told, sanitize, roomy)


def _choose(target: Target, kind: str | None) -> Sim:
    if target.abstract:
        offered = ", ".join(t.name for t in all_targets())
        raise UserError(f"target {target.name} is only for others to extend", fix=f"choose from {offered}")
    for sim in target.sims:
        if kind in (None, sim.kind):
            return sim
    what, kinds = f"target {target.name} has no simulator {kind or ''}", [s.kind for s in target.sims]
    raise UserError(what.rstrip(), fix=f"there are: {', '.join(kinds) or 'none'}")


def _link_script(target: Target, sim: Sim) -> list[str]:
    """Flags for the target's `sim/link.ld`, if its simulator has a memory map."""
    flags = []
    for name, (origin, length) in sim.memory.items():
        flags += [f"-Wl,--defsym=BR_{name.upper()}={origin:#x}"]
        flags += [f"-Wl,--defsym=BR_{name.upper()}_BYTES={length:#x}"]
    return [*flags, f"-Wl,-T,{target.file('sim/link.ld')}"] if flags else []


def _compile(command: Sequence[str], what: str) -> None:
    """Runs a compiler; FitError where its linker finds no room, ToolFailed (with a log that stays) elsewhere."""
    status, said = _call(command)
    if not status:
        return
    if _NO_ROOM.search(said):
        said = next(line.split("ld: ")[-1] for line in said.splitlines() if _NO_ROOM.search(line))
        raise FitError(
            f"{what} does not fit: {re.sub(r'of .*/', 'of ', said)}",
            fix="see what needs most: brainc show --memory, --cost",
        )
    log = cache_dir() / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(" ".join(command) + "\n" + said, encoding="utf-8")
    tail = "\n".join(said.splitlines()[-12:])
    raise ToolFailed(f"{Path(command[0]).name} could not build {what}:\n{tail}", fix=f"the whole log is {log}")


def _call(command: Sequence[str], timeout: float | None = None) -> tuple[int, str]:
    """Status and words of a program that is given nothing to read."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def output(command: Sequence[str]) -> str:
    """What a program of ours says; ToolFailed where it ends otherwise than well."""
    status, said = _call(command)
    if status:
        raise ToolFailed(f"{Path(command[0]).name} ended with {status}:\n{said[-2000:]}", fix="see what it says")
    return said


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
            command = [cc, "-O2", *WARNINGS[:2], *flags, str(source), "-o", str(fresh), *libraries]
            _compile(command, source.name)
            os.replace(fresh, made)
    except OSError as error:
        raise ToolFailed(f"cannot keep {made.name}: {error}", fix=CACHE) from error
    return made


def shared(target: Target, sources: Sequence[Path], name: str, *, plain: bool = False) -> Path:
    """These sources (.c, .S) as a shared library for this machine, made once for what their folders hold.

    `plain`: for every machine of the kind, without what the target's flags say of its instructions.
    """
    chain = target.toolchain
    cc = find_tool(chain.cc, packages=chain.packages)
    own = [flag for flag in chain.flags if not (plain and flag.startswith("-m"))]
    flags = ["-O3", f"-std={chain.std}", *own, "-shared", "-fPIC", "-pthread"]
    sha = hashlib.sha256("\0".join((cc, version(cc) or "", *flags)).encode())
    folders = {source.parent for source in sources}
    beside = {found for folder in folders for mask in (f"{name}*", "*.h") for found in folder.glob(mask)}
    for path in sorted(found for found in {*sources, *beside} if found.suffix not in ("", WEIGHTS) and found.is_file()):
        sha.update(path.name.encode() + b"\0" + path.read_bytes())
    made = cache_dir() / "native" / f"{name}-{sha.hexdigest()[:16]}.so"
    if not made.exists():
        with tempfile.TemporaryDirectory() as work:
            fresh = Path(work) / made.name
            _compile([cc, *flags, *map(str, sources), "-o", str(fresh), *chain.link], f"{name} for this machine")
            write(made.parent, {made.name: fresh.read_bytes()}, other=CACHE)
    return made


def link_here(target: Target, sources: Sequence[Path], made: Path) -> None:
    """These sources as a program for this machine, whole or not at all."""
    chain = target.toolchain
    cc = find_tool(chain.cc, packages=chain.packages)
    plain = [f for f in chain.flags if not f.startswith("-m")]  # kernels say themselves what they need
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".brainc-") as work:
        fresh = Path(work) / made.name
        command = [
            cc,
            "-O3",
            f"-std={chain.std}",
            *plain,
            *map(str, sources),
            "-o",
            str(fresh),
            "-pthread",
            *chain.link,
        ]
        _compile(command, f"the program {made.name}")
        os.replace(fresh, made)


def cache_dir() -> Path:
    """Where what can be made again is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainc"


def node_packages() -> Path:
    """The folder that JavaScript packages are installed under: the virtual environment's, else the cache."""
    own = Path(sys.prefix) / "share" / "brainc" / "node"
    return own if sys.prefix != sys.base_prefix else cache_dir() / "node"


def locate(name: str) -> str | None:
    """Where a tool is: a program, or for `libsimavr` its header, for `rp2040js` its package.json."""
    places = [Path(sys.prefix) / "bin" / name]  # first: the environment may not be activated
    if name == "libsimavr":
        places = [Path(root) / "include/simavr/sim_avr.h" for root in ("/usr", "/usr/local", "/opt/homebrew")]
    elif name == "rp2040js":
        places = [node_packages() / "node_modules" / "rp2040js" / "package.json"]
    own = (p for p in places if p.exists())
    return next((str(p) for p in own), shutil.which(name) or shutil.which(name, path=str(_pio_package(name))))


def _pio_package(tool: str) -> Path:
    """Where PlatformIO keeps a tool that it has fetched."""
    core = os.environ.get("PLATFORMIO_CORE_DIR") or Path.home() / ".platformio"
    return Path(core) / "packages" / f"tool-{tool}"


def find_tool(name: str, *, packages: Sequence[str]) -> str:
    """Where a tool is, or ToolMissing with the command that brings it."""
    found = locate(name)
    if found is None:
        raise ToolMissing(f"{name} is not installed", fix=_install(name, packages))
    return found


def _install(name: str, packages: Sequence[str]) -> str:
    own = {"rp2040js": f"npm install --prefix {node_packages()} {RP2040JS}", "pio": "pip install platformio"}
    fetched = "PlatformIO fetches it with the first `brainc flash`"
    return own.get(name, f"on Debian and Ubuntu: apt-get install {' '.join(packages)}" if packages else fetched)


@cache
def version(program: str) -> str | None:
    """The first x.y.z that `program --version` prints, or what a package.json says."""
    if program.endswith("package.json"):
        return str(json.loads(Path(program).read_text(encoding="utf-8")).get("version"))
    try:
        found = re.search(r"\d+\.\d+\.\d+", _call([program, "--version"], timeout=60)[1])
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found[0] if found else None


def doctor() -> tuple[ToolStatus, ...]:
    """Every tool that some target needs, sorted by name."""
    needs: dict[str, dict[str, Sequence[str]]] = {}  # tool, target, packages
    for target in all_targets():
        wanted = [(target.toolchain.cc, target.toolchain.packages)]
        wanted += [(tool, sim.packages) for sim in target.sims for tool in _SIM_TOOLS[sim.kind]]
        wanted += [(tool, ()) for tool in ("pio", *target.board.tools)] if target.board else []
        for tool, packages in wanted:
            needs.setdefault(tool, {}).setdefault(target.name, packages)
    return tuple(_status(name, needs[name]) for name in sorted(needs))


def _status(name: str, users: Mapping[str, Sequence[str]]) -> ToolStatus:
    path = locate(name)
    told = version(path) if path and name != "libsimavr" else None  # a header cannot be asked
    return ToolStatus(name, path, told, tuple(users), _install(name, next(iter(users.values()))))


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
    flash = sum(s[5] for s in held if s[1] != 8)  # SHT_NOBITS lies in no flash
    ram = sum(s[5] for s in held if s[2] & 1)  # SHF_WRITE
    symbols: dict[str, tuple[int, int]] = {}
    for section in (s for s in sections if s[1] == 2):  # SHT_SYMTAB
        names, entries = sections[section[6]][4], data[section[4] : section[4] + section[5]]
        for symbol in struct.iter_unpack("<IBBHQQ" if wide else "<IIIBBH", entries):
            text = data[names + symbol[0] : data.index(b"\0", names + symbol[0])].decode("utf-8", "replace")
            symbols[text] = (symbol[4], symbol[5]) if wide else (symbol[1], symbol[2])
    symbols.pop("", None)
    return Elf(flash, ram, symbols)


def write(
    directory: Path, files: Mapping[str, bytes | Iterable[bytes]], *, other: str = "choose another folder"
) -> None:
    """Puts `files` (relative path to content, or chunks of it) under `directory`; where it cannot, do the `other`.

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
        full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # the device's fault, else the folder's
        kind, fix = (DeviceError, f"make room there, or {other}") if error.errno in full else (UserError, other)
        raise kind(f"cannot write to {directory}: {error.strerror or error}", fix=fix) from error
