"""Runs a firmware on this machine or in a simulator: bytes in, bytes and measurements out.

The proof and the bench come here with a `Firmware`. Every simulator tells what it saw in lines of
`kind key=value ...` (bracket, mark, stack, state); one reader turns them into a `Run`. The harness' own
two brackets come first, one empty and one with a single mark: their cost is taken off all others.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainc.errors import DeviceError, ToolFailed, ToolMissing
from brainc.toolchain import Firmware, find_tool, helper, node_packages, version

TIMEOUT = 600.0  # seconds
_OWN_BRACKETS = 2
_CLASSES = ("load", "store", "mul", "branch", "div", "fp_mve", "other")
_SANITIZE_FIRST = "run the same inputs on c99 with sanitizers: they name the line"
_KINDS = ("bracket", "mark", "stack", "state")


@dataclass(frozen=True, slots=True)
class Run:
    """What came out and what it took; a figure that the machine cannot give is None.

    `cycles`, `instructions` and `microseconds` have one value per sample and count the entry alone.
    `classes` splits the instructions of the costliest sample. `marks` maps a node to its cost, the highest
    over the samples, in cycles where there are cycles and else in instructions. `stack` is the deepest the
    entry went, in bytes.
    """

    outputs: bytes
    samples: int
    cycles: tuple[int, ...] | None
    instructions: tuple[int, ...] | None
    classes: Mapping[str, int] | None
    microseconds: tuple[float, ...] | None
    marks: Mapping[int, int] | None
    stack: int | None
    flash_bytes: int
    ram_static: int


@dataclass(frozen=True, slots=True)
class _Bracket:
    """Counts between begin and end, and the same per node: node -> (counts, times marked)."""

    counts: Mapping[str, int]
    marks: Mapping[int, tuple[Mapping[str, int], int]]


@dataclass(slots=True)
class _Told:
    """The records of one run, read."""

    state: dict[str, str] = field(default_factory=dict)
    brackets: list[_Bracket] = field(default_factory=list)
    stack: int | None = None


def run(
    firmware: Firmware,
    inputs: bytes,
    samples: int,
    *,
    count: bool = False,
    work: Path | None = None,
    timeout: float = TIMEOUT,
) -> Run:
    """Runs `samples` inputs, laid one after another in `inputs`, through `firmware`.

    `count` asks for instructions where counting costs extra (QEMU's plugin, callgrind on the host).
    Raises DeviceError if the firmware faults, stops early or does not end within `timeout` seconds, and
    ToolMissing for a simulator that is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="brainc-") as scratch:
        place = work or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        (place / "in.bin").write_bytes(inputs)
        (place / "out.bin").unlink(missing_ok=True)
        job = _Job(firmware, place, timeout)
        told = _read(_SIMULATORS[firmware.sim.kind](job, count))
        _judge(job, told, samples)
        return _result(firmware, told, (place / "out.bin").read_bytes(), samples)


class _Job:
    """One firmware in one folder: starts programs for it and remembers what they last said."""

    def __init__(self, firmware: Firmware, place: Path, timeout: float) -> None:
        self.firmware = firmware
        self.place = place
        self.timeout = timeout
        self.said = ""
        self.status = 0

    @property
    def name(self) -> str:
        return f"the firmware for {self.firmware.target.name} ({self.firmware.sim.kind})"

    @property
    def elf(self) -> str:
        return str(self.firmware.elf.resolve())

    def tool(self, name: str) -> str:
        return find_tool(name, packages=self.firmware.sim.packages)

    def execute(self, command: Sequence[str], *, piped: bool = False) -> str:
        """Runs a program in the folder and returns what it said; `piped` puts the samples on its pipes."""
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        try:
            if piped:
                with open(self.place / "in.bin", "rb") as source, open(self.place / "out.bin", "wb") as sink:
                    done = subprocess.run(command, cwd=self.place, stdin=source, stdout=sink, env=env,
                                          stderr=subprocess.PIPE, timeout=self.timeout)
            else:
                done = subprocess.run(command, cwd=self.place, stdin=subprocess.DEVNULL, env=env,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=self.timeout)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{self.name} did not end within {self.timeout:g} s",
                              fix="look for an endless loop, or allow it more time") from error
        said = done.stderr if piped else done.stdout
        self.said, self.status = said.decode("utf-8", "replace"), done.returncode
        return self.said


def _host(job: _Job, count: bool) -> str:
    told = job.execute([job.elf], piped=True)
    if not count or job.firmware.sanitized or "state name=done" not in told:
        return told
    return _with_callgrind(job, told, job.tool("valgrind"))


def _with_callgrind(job: _Job, told: str, valgrind: str) -> str:
    """The host's records with instructions added: callgrind writes a part at each edge of a bracket."""
    edges = ("--dump-before=br_host_end", "--dump-before=br_host_mark",
             "--dump-after=br_host_begin", "--dump-after=note_mark")
    for part in job.place.glob("parts*"):
        part.unlink()
    job.execute([valgrind, "--tool=callgrind", "--vgdb=no", "-q", "--callgrind-out-file=parts",
                 *edges, job.elf], piped=True)
    costs = _callgrind_parts(job.place)
    lines = []
    for line in told.splitlines():
        if line.startswith("bracket "):
            line += f" instructions={next(costs)}"
        lines.append(f"{line} instructions={next(costs)}" if line.startswith("mark ") else line)
    return "\n".join(lines)


def _callgrind_parts(place: Path) -> Iterator[int]:
    """Instructions of each node and then of its whole bracket, in the order in which they ran."""
    inside = 0
    for part in sorted(place.glob("parts.*"), key=lambda p: int(p.suffix[1:])):
        text = part.read_text(encoding="utf-8")
        trigger = re.search(r"^desc: Trigger: --dump-(\w+)=(\w+)", text, re.MULTILINE)
        spent = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if trigger is None or spent is None:
            continue
        cost = int(spent[1])
        if trigger.groups() == ("before", "br_host_mark"):
            inside += cost
            yield cost
        elif trigger.groups() == ("before", "br_host_end"):
            yield inside + cost
            inside = 0


def _simavr(job: _Job, count: bool) -> str:
    del count  # cycles cost nothing extra
    source = _beside(job, "sim/avrrun.c")
    sim = job.firmware.sim
    job.tool("libsimavr")
    program = helper(source, libraries=("-lsimavr",), packages=sim.packages)
    return job.execute([str(program), sim.mcu, str(sim.hz), job.elf, "in.bin", "out.bin"])


def _qemu(job: _Job, count: bool) -> str:
    qemu = job.tool("qemu-system-arm")
    command = [qemu, "-M", job.firmware.sim.machine, "-display", "none", "-monitor", "none",
               "-serial", "none", "-nic", "none", "-semihosting-config", "enable=on,target=native",
               "-kernel", job.elf]
    if not count:
        return job.execute(command)
    if (version(qemu) or "").split(".")[0] not in ("6", "7", "8"):
        raise ToolMissing(f"counting instructions needs QEMU 6, 7 or 8; {qemu} is {version(qemu)}",
                          fix="use Debian 12's qemu-system-arm, or run without counting")
    plugin = helper(_beside(job, "sim/count.c"), "-fPIC", "-shared", packages=job.firmware.sim.packages)
    settings = ",".join(f"{name}={address:#x}" for name, address in _addresses(job).items())
    said = job.execute([*command, "-plugin", f"{plugin},{settings},records=counts.txt"])
    counts = job.place / "counts.txt"
    return said + counts.read_text(encoding="utf-8") if counts.exists() else said


def _rp2040js(job: _Job, count: bool) -> str:
    del count  # cycles cost nothing extra
    node = job.tool("node")
    job.tool("rp2040js")
    return job.execute([node, str(_beside(job, "sim/rp2040.mjs")), str(node_packages()),
                        job.elf, *(f"{name}={address:#x}" for name, address in _addresses(job).items())])


_SIMULATORS = {"host": _host, "simavr": _simavr, "qemu": _qemu, "rp2040js": _rp2040js}


def _beside(job: _Job, relative: str) -> Path:
    path = job.firmware.target.find(relative)
    if path is None:
        raise ToolMissing(f"target {job.firmware.target.name} has no {relative}", fix="reinstall brainc")
    return path


def _addresses(job: _Job) -> dict[str, int]:
    """Where the harness lies in the image: see sim/count.c and sim/rp2040.mjs."""
    symbols = job.firmware.image.symbols
    names = {"begin": "br_host_begin", "end": "br_host_end", "mark": "br_host_mark",
             "first": "br_host_first", "last": "br_host_last", "ram": "br_ram"}
    found = {short: symbols[name][0] & ~1 for short, name in names.items() if name in symbols}
    if len(found) < len(names):
        raise ToolFailed(f"{job.name} lacks parts of the harness", fix="link it with toolchain.build")
    return {**found, "mark_end": found["mark"] + symbols["br_host_mark"][1]}


def _read(said: str) -> _Told:
    told = _Told()
    marks: dict[int, tuple[Mapping[str, int], int]] = {}
    for line in said.splitlines():
        kind, *words = line.split() or [""]
        if kind not in _KINDS or not all("=" in w for w in words):
            continue
        values = dict(w.split("=", 1) for w in words)
        if kind == "state":
            told.state = told.state or values
        elif kind == "stack":
            told.stack = int(values["bytes"], 0)
        elif kind == "mark":
            counts = {k: int(v, 0) for k, v in values.items()}
            node = counts.pop("node")
            calls = counts.pop("times", 1)
            known, times = marks.get(node, ({}, 0))
            marks[node] = (_plus(known, counts, 1), times + calls)
        else:
            told.brackets.append(_Bracket({k: int(v, 0) for k, v in values.items()}, marks))
            marks = {}
    return told


def _plus(a: Mapping[str, int], b: Mapping[str, int], factor: int) -> dict[str, int]:
    """a + factor * b, key by key."""
    return {k: a.get(k, 0) + factor * b.get(k, 0) for k in {**a, **b}}


def _judge(job: _Job, told: _Told, samples: int) -> None:
    """Raises DeviceError unless the firmware ran all samples to its end."""
    state = told.state
    if state.get("name") == "done":
        ran = int(state.get("samples", "-1"), 0)
        if ran != samples:
            raise DeviceError(f"{job.name} ran {ran} of {samples} samples",
                              fix="check that the inputs are as long as its ports ask for")
        return
    if not state:
        raise DeviceError(f"{job.name} stopped early, status {job.status}{_last_words(job.said)}",
                          fix="" if job.firmware.sanitized else _SANITIZE_FIRST)
    why = state.get("why", "?").replace("_", " ")
    where = f" in {job.firmware.image.symbol_at(int(state['pc'], 0))}" if "pc" in state else ""
    rest = ", ".join(f"{k} {v}" for k, v in state.items() if k not in ("name", "why"))
    raise DeviceError(f"{job.name} faulted: {why}{where}{f' ({rest})' if rest else ''}",
                      fix=_SANITIZE_FIRST)


def _last_words(said: str) -> str:
    """What a person should see of a program that died: a sanitizer's verdict, else the end of its output."""
    lines = [line for line in said.splitlines() if line.split(" ")[0] not in _KINDS]
    telling = [line for line in lines if re.search(r"runtime error:|Sanitizer:|fatal:", line)]
    return "".join(f"\n{line}" for line in telling or lines[-12:])


def _result(firmware: Firmware, told: _Told, outputs: bytes, samples: int) -> Run:
    own, ran = told.brackets[:_OWN_BRACKETS], told.brackets[_OWN_BRACKETS:]
    empty = own[0].counts if own else {}
    mark = _plus(own[1].counts, empty, -1) if own else {}
    entries = [_entry(b, empty, mark) for b in ran]

    def column(key: str) -> tuple[int, ...] | None:
        return tuple(e[key] for e in entries) if entries and key in entries[0] else None

    instructions = column("instructions")
    costliest = max(entries, key=lambda e: e["instructions"]) if instructions else {}
    unit = "cycles" if column("cycles") else "instructions"
    return Run(
        outputs=outputs,
        samples=samples,
        cycles=column("cycles"),
        instructions=instructions,
        classes={k: costliest[k] for k in _CLASSES} if "load" in costliest else None,
        microseconds=_microseconds(ran),
        marks=_node_costs(ran, mark, unit) if column(unit) else None,
        stack=told.stack,
        flash_bytes=firmware.flash_bytes,
        ram_static=firmware.ram_bytes,
    )


def _entry(bracket: _Bracket, empty: Mapping[str, int], mark: Mapping[str, int]) -> dict[str, int]:
    """The entry's own counts: the bracket's, less what harness calls cost."""
    calls = sum(times for _, times in bracket.marks.values())
    return _plus(_plus(bracket.counts, empty, -1), mark, -calls)


def _node_costs(ran: Sequence[_Bracket], mark: Mapping[str, int], unit: str) -> dict[int, int] | None:
    costs: dict[int, int] = {}
    for bracket in ran:
        for node, (counts, times) in bracket.marks.items():
            costs[node] = max(costs.get(node, 0), _plus(counts, mark, -times)[unit])
    return costs or None


def _microseconds(ran: Sequence[_Bracket]) -> tuple[float, ...] | None:
    if not ran or "nanoseconds" not in ran[0].counts:
        return None
    return tuple(b.counts["nanoseconds"] / 1000 for b in ran)
