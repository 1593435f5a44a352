"""What a target says it needs is what `make setup` installs."""

from __future__ import annotations

from pathlib import Path

from brainc.target import all_targets

SETUP = Path(__file__).parents[2] / ".ci" / "setup.sh"


def test_setup_installs_every_package_that_a_target_names() -> None:
    named = {p for t in all_targets() for p in t.toolchain.packages}
    named |= {p for t in all_targets() for s in t.sims for p in s.packages}
    assert named <= set(SETUP.read_text(encoding="utf-8").split())
