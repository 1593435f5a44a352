"""What a brain takes of its machine: bytes of flash and RAM, linked and run once where the tools are here.

`fit` asks before anything is written. The image is the simulator's own, less the same image with an empty step, as
`bench` counts it; it is linked for more memory than the machine has, so what does not fit is measured too. One
step runs, on random inputs: the stack is what it painted over.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from brainc import check, runners, samples
from brainc.compiler import ports
from brainc.errors import DeviceError, FitError, ToolFailed, ToolMissing
from brainc.program import Program
from brainc.toolchain import Firmware

SEED = 1
HOST_WORD = 64  # bits: machines of that word have room for all
FAR_TOO_MUCH = 2  # times the flash that there is: code behind such constants could not be reached
MOST_MACS = {"simavr": 8_000_000, "qemu": 200_000_000}  # by simulator: about a second; more work is not run


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of a brain by what they are for; None is not measured, and `missing` says why and what would help."""

    weights: int
    arena: int
    state: int
    code: int | None = None
    static: int | None = None
    stack: int | None = None
    missing: str = ""

    @property
    def flash(self) -> int:
        """What is known of its flash."""
        return self.weights + (self.code or 0)

    @property
    def ram(self) -> int:
        """What is known of its RAM."""
        return self.arena + self.state + (self.static or 0) + (self.stack or 0)


def planned(program: Program) -> Footprint:
    """What the plan says, without code and stack."""
    return Footprint(program.constant_bytes, program.plan.arena, program.plan.state)


def measured(program: Program) -> Footprint:
    """The same with code and stack, as far as the target's compiler and simulator are here."""
    known, flash = planned(program), program.target.spaces["flash"]
    if program.target.word == HOST_WORD:
        return known  # this machine: nobody asks
    if known.weights > FAR_TOO_MUCH * flash.bytes:
        return replace(known, missing="its weights alone are far too much")
    with tempfile.TemporaryDirectory(prefix="brainc-") as folder:
        try:
            full, bare = _images(program, Path(folder))
        except (ToolMissing, ToolFailed, FitError) as error:
            return replace(known, missing=_told(error))
        code = full.image.flash_bytes - bare.image.flash_bytes - known.weights
        linked = replace(known, code=code, static=full.image.ram_bytes - bare.image.ram_bytes)
        try:
            return replace(linked, stack=_stack(program, full))
        except (ToolMissing, ToolFailed, DeviceError) as error:
            return replace(linked, missing=_told(error))


def _images(program: Program, work: Path) -> tuple[Firmware, Firmware]:
    """The brain in the simulator's image, and that image with an empty step; built side by side."""
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(check.firmware, program, work / str(e), roomy=True, empty=e) for e in (False, True)]
    return made[0].result(), made[1].result()


def _stack(program: Program, image: Firmware) -> int | None:
    """Bytes that one step goes down the stack."""
    most = MOST_MACS.get(image.sim.kind, 0)
    if program.work > most:
        what = f"{program.work:,} multiply-accumulates are more than a quick run"
        raise DeviceError(what, fix=f"brainc bench -t {program.target.name} measures the stack")
    inputs = samples.random(ports(program.graph), 1, SEED).arrays
    return runners.run(image, check.to_bytes(program.graph, inputs), 1).stack


def _told(error: ToolMissing | ToolFailed | DeviceError | FitError) -> str:
    """One line: what was in the way, and what to do."""
    return f"{error.what.splitlines()[0].rstrip(':')}; {error.fix.splitlines()[0]}"
