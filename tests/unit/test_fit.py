"""Does it fit: what the figures add up to, how a no is told, and what is said where tools are missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brainc import fit, footprint, toolchain
from brainc.compiler import Job, Request, compile_job, prepare
from brainc.errors import FitError
from brainc.footprint import Footprint
from brainc.manifest import Budget, TargetChoice
from brainc.resources import examples_dir
from brainc.target import Space

WHOLE = Footprint(4000, 500, 20, code=3000, static=0, stack=100)
ROOM = {"flash": Space(10_000, reserve=5000, board=2000), "ram": Space(1000, reserve=400, board=200)}


def job(*, budget: Budget | None = None, **spaces: Space) -> Job:
    """The digits for an Uno of other sizes."""
    made = prepare(Request(examples_dir() / "digits", quantize="int8", io="int8"), "uno")
    chosen = {"uno": TargetChoice({}, budget or Budget(), {})}
    brain = replace(made.brain, targets=chosen)
    return replace(made, brain=brain, target=replace(made.target, spaces={**ROOM, **spaces}))


def test_what_was_measured_is_laid_beside_the_boards_own_code() -> None:
    flash, ram = fit.judge(job(), WHOLE).needs
    assert dict(flash.parts) == {"weights": 4000, "code": 3000, "sketch": 2000} and flash.total == 9000
    assert dict(ram.parts) == {"arena": 500, "state": 20, "stack": 100, "sketch": 200} and ram.own == 620
    shown = list(fit.lines(fit.judge(job(), WHOLE)))
    assert shown[0] == "flash    9,000 of 10,000 bytes (90 %) = weights 4,000 + code 3,000 + sketch 2,000"
    assert shown[1] == "ram      820 of 1,000 bytes (82 %) = arena 500 + state 20 + stack 100 + sketch 200"


def test_what_was_not_measured_is_what_the_machine_keeps_for_it() -> None:
    verdict = fit.judge(job(), Footprint(4000, 500, 20, missing="avr-gcc is not installed; get it"))
    assert [need.total for need in verdict.needs] == [9000, 920] and not verdict.data["measured"]
    assert list(fit.lines(verdict))[-1] == "estimate avr-gcc is not installed; get it"


@pytest.mark.parametrize(("ram", "over"), [(820, 0), (819, 1), (700, 120)])
def test_the_last_byte_counts(ram: int, over: int) -> None:
    verdict = fit.judge(job(ram=Space(ram, board=200)), WHOLE)
    assert verdict.over.get("ram", 0) == over and verdict.data["fits"] == (not over)


def test_a_budget_is_the_brains_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count the sketch; where only it is broken, a larger one is among the fixes."""
    monkeypatch.setattr(footprint, "measured", lambda _: WHOLE)
    tight = job(budget=Budget(ram=600, flash=7000))
    assert fit.judge(tight, WHOLE).over == {"ram": 20}
    assert not fit.judge(tight, WHOLE, budget=False).over
    with pytest.raises(FitError) as told:
        fit.require(tight, compile_job(tight), WHOLE)
    assert "budget   ram 620 of 600: OVER by 20" in told.value.what
    assert told.value.fix.splitlines()[-1] == "a larger budget in [target.uno]: the machine itself has room"
    assert told.value.what.startswith("digits does not keep its budget on uno: 20 bytes of ram too many")


def test_a_no_says_what_peaks_and_what_is_heavy() -> None:
    small = job(flash=Space(8999, board=2000), ram=Space(800, board=200))
    with pytest.raises(FitError) as told:
        fit.require(small, compile_job(small), WHOLE)
    what, data = told.value.what, told.value.data
    assert "digits does not fit uno: 1 bytes of flash and 20 bytes of ram too many" in what
    assert "peak     at reader/" in what and "heaviest reader/dense 2," in what
    assert data["ram"] == {
        "bytes": 820,
        "limit": 800,
        "parts": {"arena": 500, "state": 20, "stack": 100, "sketch": 200},
    }
    assert "-t nano" in told.value.fix.splitlines()[-1] and told.value.fix.endswith("fits")
    assert [trial["fits"] for trial in data["tried"]][-1] is True


def test_without_tools_it_is_an_estimate_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    locate = toolchain.locate
    monkeypatch.setattr(toolchain, "locate", lambda name: None if name == "avr-gcc" else locate(name))
    found = footprint.measured(compile_job(job()))
    assert found.code is None and found.stack is None and found.weights > 4000
    assert "avr-gcc is not installed" in found.missing and "apt-get install gcc-avr" in found.missing


def test_weights_that_no_address_reaches_are_not_linked() -> None:
    program = compile_job(job(flash=Space(1000)))
    assert "far too much" in footprint.measured(program).missing


def test_work_beyond_a_second_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    if toolchain.locate("avr-gcc") is None or toolchain.locate("libsimavr") is None:
        pytest.skip("needs avr-gcc and libsimavr")
    monkeypatch.setattr(footprint, "MOST_MACS", {"simavr": 1000})
    found = footprint.measured(compile_job(job()))
    assert found.code and found.static == 0 and found.stack is None
    assert (
        found.missing == "25,600 multiply-accumulates are more than a quick run; brainc bench -t uno measures the stack"
    )
