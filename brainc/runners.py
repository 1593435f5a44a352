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
_CLASSES = ("load", "store", "multiple", "mul", "branch", "div", "fp_mve", "other")
_SANITIZE_FIRST = "run the same inputs on c99 with sanitizers: they name the line"
_KINDS = ("bracket", "mark", "stack", "state")
Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """What came out and what it took; a figure that the machine cannot give is None.

    `counts` holds for each sample what its simulator counts of the entry alone: cycles, instructions, their
    classes and the registers moved; `nodes` the same for each node that the trace build marks. `microseconds`
    has one value per sample. `stack` is the deepest the entry went, in bytes.
    """

    outputs: bytes
    counts: tuple[Counts, ...]
    nodes: Mapping[int, tuple[Counts, ...]]
    microseconds: tuple[float, ...] | None
    stack: int | None

    @property
    def cycles(self) -> tuple[int, ...] | None:
        """One value per sample."""
        return self._column("cycles")

    @property
    def instructions(self) -> tuple[int, ...] | None:
        """One value per sample."""
        return self._column("instructions")

    @property
    def classes(self) -> Counts | None:
        """The instructions of the costliest sample by class: together they are all of them."""
        costliest = max(self.counts, key=lambda c: c.get("instructions", 0), default={})
        return {k: costliest[k] for k in _CLASSES} if "load" in costliest else None

    @property
    def marks(self) -> Mapping[int, int] | None:
        """What each node took at most, in cycles where there are cycles and else in instructions."""
        unit = "cycles" if self.cycles else "instructions"
        return {node: max(c[unit] for c in seen) for node, seen in self.nodes.items() if unit in seen[0]} or None

    def _column(self, key: str) -> tuple[int, ...] | None:
        return tuple(c[key] for c in self.counts) if self.counts and key in self.counts[0] else None


@dataclass(slots=True)
class _Told:
    """The records of one run, read: each bracket's counts, and those of the nodes marked in it."""

    state: dict[str, str] = field(default_factory=dict)
    brackets: list[tuple[Counts, dict[int, Counts]]] = field(default_factory=list)
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
        return _result(told, (place / "out.bin").read_bytes())


@dataclass(slots=True)
class _Job:
    """One firmware in one folder: starts programs for it and remembers what they last said."""

    firmware: Firmware
    place: Path
    timeout: float
    said: str = ""
    status: int = 0

    @property
    def name(self) -> str:
        return f"the firmware for {self.firmware.target.name} ({self.firmware.sim.kind})"

    @property
    def elf(self) -> str:
        return str(self.firmware.elf.resolve())

    def tool(self, name: str) -> str:
        return find_tool(name, packages=self.firmware.sim.packages)

    def execute(self, command: Sequence[str | Path], *, piped: bool = False) -> str:
        """Runs a program in the folder and returns what it said; `piped` puts the samples on its pipes."""
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        source, sink = ("in.bin", "out.bin") if piped else (os.devnull, "said.txt")
        said = subprocess.PIPE if piped else subprocess.STDOUT
        try:
            with open(self.place / source, "rb") as stdin, open(self.place / sink, "wb") as stdout:
                done = subprocess.run(
                    command, cwd=self.place, stdin=stdin, stdout=stdout, stderr=said, env=env, timeout=self.timeout
                )
        except subprocess.TimeoutExpired as error:
            what = f"{self.name} did not end within {self.timeout:g} s"
            raise DeviceError(what, fix="look for an endless loop, or allow it more time") from error
        words = done.stderr if piped else (self.place / sink).read_bytes()
        self.said, self.status = words.decode("utf-8", "replace"), done.returncode
        return self.said


def _host(job: _Job, count: bool) -> str:
    """On this machine; callgrind, if it is to count, writes a part at each edge of a bracket."""
    told = job.execute([job.elf], piped=True)
    if not count or job.firmware.sanitized or "state name=done" not in told:
        return told
    edges = ("before=br_host_end", "before=br_host_mark", "after=br_host_begin", "after=note_mark")
    for part in job.place.glob("parts*"):
        part.unlink()
    valgrind = [job.tool("valgrind"), "--tool=callgrind", "--vgdb=no", "-q", "--callgrind-out-file=parts"]
    job.execute([*valgrind, *(f"--dump-{edge}" for edge in edges), job.elf], piped=True)
    costs = _callgrind_parts(job.place)
    lines = [(line, line.startswith(("bracket ", "mark "))) for line in told.splitlines()]
    return "\n".join(f"{line} instructions={next(costs)}" if yes else line for line, yes in lines)


def _callgrind_parts(place: Path) -> Iterator[int]:
    """Instructions of each node and then of its whole bracket, in the order in which they ran."""
    inside = 0
    for part in sorted(place.glob("parts.*"), key=lambda p: int(p.suffix[1:])):
        text = part.read_text(encoding="utf-8")
        spent = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        edge = re.search(r"^desc: Trigger: --dump-before=br_host_(mark|end)\b", text, re.MULTILINE)
        if spent and edge:
            inside += int(spent[1])
            yield int(spent[1]) if edge[1] == "mark" else inside
            inside = inside if edge[1] == "mark" else 0


def _simavr(job: _Job, _count: bool) -> str:
    source, sim = job.firmware.target.file("sim/avrrun.c"), job.firmware.sim
    job.tool("libsimavr")
    program = helper(source, libraries=("-lsimavr",), packages=sim.packages)
    size = ["roomy"] if job.firmware.roomy else []
    return job.execute([program, sim.mcu, str(sim.hz), job.elf, "in.bin", "out.bin", *size])


def _qemu(job: _Job, count: bool) -> str:
    qemu, sim = job.tool("qemu-system-arm"), job.firmware.sim
    alone = [word for part in ("display", "monitor", "serial", "nic") for word in (f"-{part}", "none")]
    files = ["-semihosting-config", "enable=on,target=native", "-kernel", job.elf]
    command = [qemu, "-M", sim.machine, *alone, *files]
    if not count:
        return job.execute(command)
    if (version(qemu) or "").split(".")[0] not in ("6", "7", "8"):
        what = f"counting instructions needs QEMU 6, 7 or 8; {qemu} is {version(qemu)}"
        raise ToolMissing(what, fix="use Debian 12's qemu-system-arm, or run without counting")
    source = job.firmware.target.file("sim/count.c")
    plugin = helper(source, "-fPIC", "-shared", packages=sim.packages)
    said = job.execute([*command, "-plugin", ",".join((str(plugin), *_addresses(job), "records=counts.txt"))])
    counts = job.place / "counts.txt"
    return said + counts.read_text(encoding="utf-8") if counts.exists() else said


def _rp2040js(job: _Job, _count: bool) -> str:
    node, script = job.tool("node"), job.firmware.target.file("sim/rp2040.mjs")
    job.tool("rp2040js")
    return job.execute([node, script, node_packages(), job.elf, *_addresses(job)])


_SIMULATORS = {"host": _host, "simavr": _simavr, "qemu": _qemu, "rp2040js": _rp2040js}


def _addresses(job: _Job) -> list[str]:
    """Where the harness lies in the image, as sim/count.c and sim/rp2040.mjs are told it."""
    symbols = job.firmware.image.symbols
    places = {f"br_host_{name}": name for name in ("begin", "end", "mark", "first", "last")} | {"br_ram": "ram"}
    if not places.keys() <= symbols.keys():
        raise ToolFailed(f"{job.name} lacks parts of the harness", fix="link it with toolchain.build")
    found = {short: symbols[name][0] & ~1 for name, short in places.items()}
    found["mark_end"] = found["mark"] + symbols["br_host_mark"][1]
    return [f"{name}={address:#x}" for name, address in found.items()]


def _read(said: str) -> _Told:
    told = _Told()
    marks: dict[int, Counts] = {}
    for line in said.splitlines():
        kind, *words = line.split() or [""]
        if kind not in _KINDS or not all("=" in w for w in words):
            continue
        values = dict(w.split("=", 1) for w in words)
        if kind == "state":
            told.state = told.state or values
            continue
        counts = {key: int(value, 0) for key, value in values.items()}
        if kind == "stack":
            told.stack = counts["bytes"]
        elif kind == "mark":
            node = counts.pop("node")
            marks[node] = _plus(marks.get(node, {}), {"times": 1, **counts}, 1)
        else:
            told.brackets.append((counts, marks))
            marks = {}
    return told


def _plus(a: Counts, b: Counts, factor: int) -> dict[str, int]:
    """a + factor * b, key by key."""
    return {k: a.get(k, 0) + factor * b.get(k, 0) for k in {**a, **b}}


def _judge(job: _Job, told: _Told, samples: int) -> None:
    """Raises DeviceError unless the firmware ran all samples to its end."""
    state = told.state
    if not state:
        fix = "" if job.firmware.sanitized else _SANITIZE_FIRST
        what = f"{job.name} stopped early, status {job.status}{_last_words(job.said)}"
        raise DeviceError(what, fix=fix)
    if state.get("name") != "done":
        where = f" in {job.firmware.image.symbol_at(int(state['pc'], 0))}" if "pc" in state else ""
        rest = ", ".join(f"{k} {v}" for k, v in state.items() if k not in ("name", "why"))
        why = state.get("why", "?").replace("_", " ") + where + (f" ({rest})" if rest else "")
        raise DeviceError(f"{job.name} faulted: {why}", fix=_SANITIZE_FIRST)
    ran = int(state.get("samples", "-1"), 0)
    if ran != samples:
        fix = "check that the inputs are as long as its ports ask for"
        raise DeviceError(f"{job.name} ran {ran} of {samples} samples", fix=fix)


def _last_words(said: str) -> str:
    """What a person should see of a program that died: a sanitizer's verdict, else the end of its output."""
    lines = [line for line in said.splitlines() if line.split(" ")[0] not in _KINDS]
    telling = [line for line in lines if re.search(r"runtime error:|Sanitizer:|fatal:", line)]
    return "".join(f"\n{line}" for line in telling or lines[-12:])


def _result(told: _Told, outputs: bytes) -> Run:
    own, ran = [counts for counts, _ in told.brackets[:_OWN_BRACKETS]], told.brackets[_OWN_BRACKETS:]
    empty, mark = (own[0], _plus(own[1], own[0], -1)) if len(own) == _OWN_BRACKETS else ({}, {})
    entries: list[dict[str, int]] = []
    nodes: dict[int, list[Counts]] = {}
    for counts, marks in ran:  # the entry's own: the bracket's, less what calls of the harness cost
        calls = sum(seen["times"] for seen in marks.values())
        entries.append(_plus(_plus(counts, empty, -1), mark, -calls))
        for node, seen in marks.items():
            nodes.setdefault(node, []).append(_plus(seen, mark, -seen["times"]))
    times = [entry.pop("nanoseconds") for entry in entries if "nanoseconds" in entry]
    return Run(
        outputs=outputs,
        counts=tuple(entries),
        nodes={node: tuple(seen) for node, seen in nodes.items()},
        microseconds=tuple(time / 1000 for time in times) or None,
        stack=told.stack,
    )
