"""A machine with a 64-bit Arm processor: programs for it, made by a cross compiler and run by QEMU.

Its compilers fuse products and sums unless they are told not to, and its plain `char` has no sign.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from brainc import runners
from brainc.target import Target, load_target

CC, OBJDUMP, QEMU = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump", "qemu-aarch64-static"
TOOLS = {CC: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", QEMU: "qemu-user-static"}


def needs_tools() -> None:
    """Skips where there are none."""
    missing = [f"{tool} (apt-get install {packages})" for tool, packages in TOOLS.items() if not shutil.which(tool)]
    if missing:
        pytest.skip(f"a 64-bit Arm machine needs {', '.join(missing)}")


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """Plain C, for that machine."""
    needs_tools()
    monkeypatch.setitem(runners._SIMULATORS, QEMU, lambda job, _: job.execute([QEMU, job.elf], piped=True))
    base = load_target("c99")
    chain = replace(base.toolchain, cc=CC, link=(*base.toolchain.link, "-static"))
    yield replace(base, toolchain=chain, sims=(replace(base.sims[0], kind=QEMU),))
