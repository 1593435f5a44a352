"""The builtin sampler: its draws follow the softmax at every temperature, and are the same on every machine.

The truth is a softmax in float64; a draw's exact probabilities are the op's own weights, which also must be met.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making import Array, compiled, proven
from test_recurrence import V, brain, step_net, tokens

from brainc import check
from brainc.errors import ManifestError, UnsupportedError
from brainc.ops import get
from brainc.ops._draws import scrambled, weights
from brainc.ops.qsample import FRACTION, STEEPEST, powers_table, sample_multiplier

NET = '[modules.net]\nkind = "onnx"\nfile = "net.onnx"\n'
SAMPLER = '[modules.sampler]\nkind = "builtin"\nbuiltin = "sampler"\n'
WIRES = '[wires]\n"net.token" = "in.token"\n"net.h" = "net.next"\n"sampler.logits" = "net.logits"\n'


def talker(folder: Path, keys: str = "", wires: str = "", net: str = NET) -> Path:
    """The step of test_recurrence, a sampler behind it."""
    brain(folder)
    text = f'[brain]\nname = "talker"\n{net}{SAMPLER}{keys}{WIRES}"out.next" = "sampler.token"\n{wires}'
    (folder / "brain.toml").write_text(text)
    np.savez(
        folder / "x.npz", token=tokens(60), temperature=np.full((60, 1), 64, np.int32), seed=np.zeros((60, 1), np.int32)
    )
    return folder


def probabilities(logits: Array, scale: float, temperature: int) -> Array:
    """What the op's own weights are, of their sum."""
    flat = logits.astype(np.int64)
    step = min((sample_multiplier(scale) + temperature // 2) // temperature, STEEPEST)
    found = weights(((flat.max() - flat) * step + (1 << (FRACTION - 1))) >> FRACTION).astype(np.float64)
    return np.asarray(found / found.sum())


def softmax(logits: Array, scale: float, temperature: int) -> Array:
    powers = np.exp((logits.astype(np.float64) - logits.max()) * scale * 64 / temperature)
    return np.asarray(powers / powers.sum())


@pytest.mark.parametrize("count", [2, 38, 128, 129, 1000, 65536])
def test_its_probabilities_are_those_of_a_softmax(count: int) -> None:
    """Total variation below 1 %, from the coldest to the hottest, for flat and for steep logits."""
    rng = np.random.default_rng(count)
    for scale in (0.003, 0.05, 0.2, 1.0):
        for temperature in (1, 16, 45, 64, 100, 255, 4000):
            for spread in (5, 40, 100):
                logits = np.clip(np.rint(rng.normal(0, spread, count)), -128, 127).astype(np.int8)
                gap = probabilities(logits, scale, temperature) - softmax(logits, scale, temperature)
                assert np.abs(gap).sum() / 2 < 0.01, (scale, temperature, spread)


def drawn(logits: Array, scale: float, temperature: int, count: int, seed: int = 1) -> Array:
    """That many draws, one after the other."""
    op, state = get("qsample"), np.array([scrambled(seed)], np.uint32).view(np.int32)
    operands = [logits, powers_table(), np.array([temperature], np.int32), state]
    return np.array([op.run(operands, {"mult": sample_multiplier(scale)})[0][0] for _ in range(count)])


@pytest.mark.parametrize(("count", "temperature"), [(11, 64), (11, 30), (38, 200), (300, 64)])
def test_draws_follow_the_probabilities(count: int, temperature: int) -> None:
    """Chi-square of 20,000 draws, and of pairs of neighbours, below what one in a thousand fair draws has."""
    logits = np.random.default_rng(count).integers(-40, 30, count).astype(np.int8)
    want, got = probabilities(logits, 0.08, temperature), drawn(logits, 0.08, temperature, 20000)
    half = (np.cumsum(want) < 0.5).astype(int)[got]  # low or high
    share = half.mean()
    pairs = np.bincount(2 * half[:-1] + half[1:], minlength=4) / (len(got) - 1)
    fair = np.outer([1 - share, share], [1 - share, share]).reshape(-1)
    for seen, fraction, n in (
        (np.bincount(got, minlength=count) / len(got), want, len(got)),
        (pairs, fair, len(got) - 1),
    ):
        some = fraction * n >= 5
        chi = n * float((np.square(seen - fraction)[some] / fraction[some]).sum())
        degrees = int(some.sum()) - 1
        assert chi < degrees + 4.3 * np.sqrt(2 * degrees) + 4, (chi, degrees)


def test_temperature_zero_is_the_first_largest() -> None:
    assert set(drawn(np.array([3, 9, 9, 1], np.int8), 0.1, 0, 50)) == {1}
    assert len(set(drawn(np.array([3, 9, 9, 1], np.int8), 0.1, 64, 50))) > 1


@pytest.mark.parametrize("target", ["c99", "uno"])
def test_a_brain_talks_the_same_everywhere(tmp_path: Path, target: str) -> None:
    """A network, its state wired back, and a sampler: the C (in simavr too) gives the reference's tokens."""
    wires = '"sampler.temperature" = "in.temperature"\n"sampler.seed" = "in.seed"\n'
    program = compiled(talker(tmp_path, wires=wires), target, quantize="int8", calibrate=str(tmp_path / "x.npz"))
    seeds = np.zeros((24, 1), np.int32)
    seeds[8] = seeds[16] = 77  # the same words again, once the cell has forgotten what was before
    heat = np.array([64, 45, 0, 200] * 6, np.int32)[:, None]
    vectors = {"token": tokens(24, 5), "temperature": heat, "seed": seeds}
    assert check.is_exact(program.graph)
    rung = check.prove(program, vectors, sanitize=target == "c99")
    assert rung.equal, rung.first_difference
    if target == "uno":
        got = np.stack([row["next"] for row in check.reference(program.graph, vectors)])
        assert len(set(got.reshape(-1))) > 3 and got.max() < V


def test_what_is_not_wired_has_a_default(tmp_path: Path) -> None:
    """A temperature of 0 in the manifest is the largest logit; another seed, other draws."""

    def tokens_of(keys: str) -> list[int]:
        folder = talker(tmp_path, keys, '"out.logits" = "net.logits"\n')
        program = compiled(folder, quantize="int8", calibrate=str(tmp_path / "x.npz"))
        got = proven(program, {"token": tokens(30, 2)})
        if "temperature = 0" in keys:
            assert np.array_equal(got["next"][:, 0], got["logits"][:, 0].argmax(axis=1))
        return [int(t) for t in got["next"].reshape(-1)]

    cold, one, two = tokens_of("temperature = 0\n"), tokens_of("seed = 1\n"), tokens_of("seed = 2\n")
    assert cold != one != two
    assert tokens_of("") == one


def test_a_temperature_may_be_a_byte(tmp_path: Path) -> None:
    keys, wire = 'in = { temperature = "u8[1]" }\n', '"sampler.temperature" = "in.temperature"\n'
    folder = talker(tmp_path, keys, wire)
    np.savez(tmp_path / "x.npz", token=tokens(60), temperature=np.full((60, 1), 64, np.uint8))
    program = compiled(folder, quantize="int8", calibrate=str(tmp_path / "x.npz"))
    assert program.graph.type("temperature").dtype.name == "u8"
    heat = np.array([[64], [0], [255]], np.uint8)
    proven(program, {"token": tokens(3), "temperature": heat})


def test_a_brain_may_hear_itself(tmp_path: Path) -> None:
    """The token goes back to the network as its next input: the brain has no input at all but the temperature."""
    step_net(tmp_path / "net.onnx", index=6)  # int32
    (tmp_path / "brain.toml").write_text(
        f'[brain]\nname = "talker"\nentries = {{ step = ["net", "sampler"] }}\n{NET}{SAMPLER}'
        '[wires]\n"net.token" = "sampler.token"\n"net.h" = "net.next"\n'
        '"sampler.logits" = "net.logits"\n"sampler.temperature" = "in.temperature"\n"out.next" = "sampler.token"\n'
    )
    heat = np.full((40, 1), 64, np.int32)
    np.savez(tmp_path / "x.npz", temperature=heat)
    program = compiled(tmp_path, quantize="int8", calibrate=str(tmp_path / "x.npz"))
    assert len(set(proven(program, {"temperature": heat})["next"].reshape(-1))) > 3


def test_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="are float: a sampler takes int8"):
        compiled(talker(tmp_path), quantize="none")


@pytest.mark.parametrize(
    ("keys", "wires", "what"),
    [
        ("temprature = 3\n", "", 'unknown key "temprature" of a sampler'),
        ("", '"sampler.heat" = "in.heat"\n', 'module sampler has no input "heat"'),
        ("", '"sampler.seed" = "net.next"\n', r"seed is f32\[1,7\], not i32\[1\]"),
        ('in = { logits = "u8[1,11]" }\n', "", "the sampler takes int8 with a scale"),
    ],
)
def test_what_a_manifest_may_say(tmp_path: Path, keys: str, wires: str, what: str) -> None:
    with pytest.raises(ManifestError, match=what):
        compiled(talker(tmp_path, keys, wires), quantize="int8", calibrate=str(tmp_path / "x.npz"))
