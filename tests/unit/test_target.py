"""Targets: every folder loads, chains merge as promised, and wrong files are told apart from bugs."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainc.errors import UserError
from brainc.target import all_targets, load_target

NAMES = (
    "c99",
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m33",
    "cortex-m4",
    "cortex-m55",
    "cortex-m7",
    "mega",
    "uno",
    "x86-avx2",
)


def test_every_target_is_complete() -> None:
    found = {t.name: t for t in all_targets()}
    assert set(NAMES) <= set(found)
    for target in found.values():
        assert target.chain[0] == target.name and target.chain[-1] == "c99"
        assert target.sim is not None
        assert target.spaces["ram"].bytes > target.spaces["ram"].reserve >= 0
        assert target.toolchain.packages and "-ffp-contract=off" in target.toolchain.flags
        assert not any("fast-math" in flag for flag in target.toolchain.flags)
        assert all(target.find(source) for source in target.toolchain.sources)


def test_abstract_targets_load_but_are_not_offered() -> None:
    assert load_target("avr").abstract
    assert not {"avr", "cortex-m", "cortex-m-dsp"} & {t.name for t in all_targets()}


def test_chain_merges_features_flags_and_files() -> None:
    m4 = load_target("cortex-m4")
    assert m4.chain == ("cortex-m4", "cortex-m-dsp", "cortex-m", "c99")
    assert m4.features == {"dsp"} and m4.fpu and m4.word == 32
    assert m4.toolchain.flags[-1] == "-mfpu=fpv4-sp-d16" and "-mthumb" in m4.toolchain.flags
    assert load_target("cortex-m55").features == {"dsp", "mve"}
    link = m4.find("sim/link.ld")
    assert link is not None and link.parts[-3] == "cortex-m"
    assert m4.find("sim/no-such-file") is None


def test_boards_know_their_memories() -> None:
    """Figures of the data sheets, less the boot loader."""
    uno, mega = load_target("uno"), load_target("mega")
    assert (uno.spaces["flash"].bytes, uno.spaces["ram"].bytes) == (32768 - 512, 2048)
    assert (mega.spaces["flash"].bytes, mega.spaces["ram"].bytes) == (262144 - 8192, 8192)
    assert uno.board is not None and uno.board.platform == "atmelavr"
    assert load_target("cortex-m3").board is None


def test_unknown_target_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no target 'cortex-m5'") as caught:
        load_target("cortex-m5")
    assert "did you mean cortex-m" in caught.value.fix


def _extension(root: Path, name: str, text: str) -> tuple[Path, ...]:
    (root / name).mkdir(parents=True)
    (root / name / "target.toml").write_text(text)
    return (root,)


def test_a_folder_elsewhere_may_extend_ours(tmp_path: Path) -> None:
    roots = _extension(tmp_path, "nano", 'extends = "uno"\n[spaces]\nram = { reserve = 700 }\n')
    nano = load_target("nano", roots=roots)
    assert nano.chain == ("nano", "uno", "avr", "c99")
    assert (nano.spaces["ram"].bytes, nano.spaces["ram"].reserve) == (2048, 700)
    assert "nano" in {t.name for t in all_targets(roots=roots)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "c99"\nspeed = 3\n', "unknown key 'speed'"),
        ('extends = "c99"\n[spaces]\nram = { size = 3 }\n', "unknown key 'size'"),
        ('extends = "c99"\n[board]\nenv = "x"\n', "missing key 'board'"),
        ('extends = "mine"\n', "extends itself"),
        ('extends = "nobody"\n', "no target 'nobody'"),
        ("= 3\n", "is not TOML"),
    ],
)
def test_wrong_files_are_the_users_fault(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_target("mine", roots=_extension(tmp_path, "mine", text))


def test_an_arduino_is_compiled_for_as_its_tools_do() -> None:
    uno = load_target("uno").toolchain
    assert uno.optimize == "-Os" and load_target("cortex-m4").toolchain.optimize == "-O2"
    assert {"-ffunction-sections", "-fdata-sections"} <= set(uno.flags)
