"""A manifest becomes the brain it describes; the texts of errors are in tests/errors."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from brainc import manifest
from brainc.dtypes import F32, I8
from brainc.errors import ManifestError, UnsupportedError
from brainc.ir import Quant, TensorType, type_text
from brainc.manifest import Budget, End, Quantise
from brainc.port_types import port_type
from brainc.toml_lines import MAX_BYTES, key_lines

WHOLE = """
[brain]
name = "rover"
entries = { step = ["ears", "motor"] }
extensions = []

[modules.ears]
kind = "onnx"
file = "models/kws.onnx"
license = "Apache-2.0"
share = true
in  = { audio = "i8[1,49,10] scale=0.10 zero=-3" }
out = { logits = "i8[1,12]" }
samples = "kws.npz"
metric = "score.py:area"
[modules.ears.variants.small]
file = "models/small.onnx"
quant = { weights = "i8", per = "channel", calibration = "mse" }

[modules.motor]
file = "motor.onnx"
adapt = true

[wires]
"ears.audio" = "in.mic"
motor.cmd = "ears.logits"
"motor.last" = { from = "motor.pwm", adapt = true }
"out.pwm" = "motor.pwm"

[target.uno]
use = { ears = "small" }
budget = { ram = 1500, flash = 28000, cycles = 160000 }
pin = { "ears/conv1" = "avr/qconv2d/i8_rows" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A brain's folder with all the files that WHOLE names."""
    home = tmp_path / "my-rover 2"
    (home / "models").mkdir(parents=True)
    for name in ("models/kws.onnx", "models/small.onnx", "motor.onnx", "kws.npz", "score.py"):
        (home / name).touch()
    return home


def write(folder: Path, text: str) -> Path:
    (folder / "brain.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_whole_manifest(folder: Path) -> None:
    """Every section arrives; folder and file are the same source."""
    brain = manifest.load(write(folder, WHOLE))
    assert brain == manifest.load(folder / "brain.toml")
    assert (brain.name, list(brain.modules), dict(brain.entries)) == (
        "rover",
        ["ears", "motor"],
        {"step": ("ears", "motor")},
    )
    ears = brain.modules["ears"]
    assert (ears.kind, ears.file, ears.license, ears.share) == ("onnx", folder / "models/kws.onnx", "Apache-2.0", True)
    assert [(p.name, p.type) for p in ears.inputs] == [("audio", TensorType(I8, (1, 49, 10), Quant.tensor(0.10, -3)))]
    assert ears.outputs[0].type == TensorType(I8, (1, 12)) and ears.outputs[0].where.line == 13
    assert brain.samples == folder / "kws.npz" and brain.metric == f"{folder / 'score.py'}:area"
    assert brain.modules["motor"].adapt and brain.modules["motor"].kind == "onnx"
    choice = brain.targets["uno"]
    assert choice.budget == Budget(1500, 28000, 160000)
    assert dict(choice.pin) == {"ears/conv1": "avr/qconv2d/i8_rows"}


def test_wires_in_each_spelling(folder: Path) -> None:
    """Quoted, dotted and table forms mean the same; a module's `adapt` holds for the wires into it."""
    wires = manifest.load(write(folder, WHOLE)).wires
    assert [(str(w.target), str(w.source), w.adapt, w.where.line) for w in wires] == [
        ("ears.audio", "in.mic", False, 25),
        ("motor.cmd", "ears.logits", True, 26),
        ("motor.last", "motor.pwm", True, 27),
        ("out.pwm", "motor.pwm", False, 28),
    ]


def test_a_variant_is_its_module_with_other_words(folder: Path) -> None:
    """`choose` puts the variant in the module's place for that target only."""
    brain = manifest.load(write(folder, WHOLE))
    small = brain.choose("uno").modules["ears"]
    assert small.file == folder / "models/small.onnx" and small.license == "Apache-2.0"
    assert small.quant == Quantise("int8", "mse") and small.inputs == brain.modules["ears"].inputs
    assert brain.choose("c99") is brain and brain.choose(None) is brain


def test_a_bare_model_file(folder: Path) -> None:
    """A model file is a brain of one module, named by its stem made an identifier."""
    file = folder / "2-nets.v1.onnx"
    file.touch()
    brain = manifest.load(file)
    assert brain.bare and brain.name == "n2_nets_v1" and list(brain.modules) == [brain.name]
    (folder / "net.trees").touch()
    with pytest.raises(UnsupportedError, match='kind "trees" yet'):
        manifest.load(folder / "net.trees")
    with pytest.raises(ManifestError, match="there is no file"):
        manifest.load(folder / "none.onnx")


def test_the_name_is_the_folder_s_if_none_is_given(folder: Path) -> None:
    brain = manifest.load(write(folder, '[modules.m]\nfile = "motor.onnx"'))
    assert brain.name == "my_rover_2" and not brain.wires and not brain.bare


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("f32[]", TensorType(F32, ())),
        ("f32[1, 49,10]", TensorType(F32, (1, 49, 10))),
        ("i8[4] scale=0.5", TensorType(I8, (4,), Quant.tensor(0.5, 0))),
        ("i8[4]  zero=-128 scale=1e-3", TensorType(I8, (4,), Quant.tensor(1e-3, -128))),
    ],
)
def test_port_types(text: str, type_: TensorType) -> None:
    """What is read is written back to the same type."""
    assert port_type(text) == type_
    assert port_type(type_text(type_)) == type_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f32",
        "f32[1",
        "f32[0]",
        "f32[-1]",
        "f32[1,,2]",
        "f32[99999999999]",
        "f32[1] scale=1",
        "i8[1] zero=3",
        "i8[1] scale=nan",
        "i8[1] scale=inf",
        "i8[1] scale=0.1 zero=1.5",
        "i8[1] unit=m",
        "q8[1]",
        "f32[٣]",
    ],
)
def test_bad_port_types(text: str) -> None:
    with pytest.raises(ManifestError):
        port_type(text)


def test_lines_of_all_kinds_of_keys() -> None:
    """Texts and comments that look like keys do not deceive the scanner."""
    text = (
        '[brain] # [not] = 1\nname = "a = \\"b\\" # c"\ntext = """\n[no]\nx = 1\n"""""\n'
        "raw = '''\n[no]'''\nlist = [\n  'b', # ]\n  { z = 1 },\n]\nwhen = 1979-05-27 07:32:00\nn = -1.5e3\n"
        '[modules."e.f".in]\na.b = 1\n[[many]]\nk = [[1, 2], []]\n'
    )
    tomllib.loads(text)
    lines = key_lines(text)
    assert {".".join(path): line for path, line in lines.items()} == {
        "brain": 1, "brain.name": 2, "brain.text": 3, "brain.raw": 7, "brain.list": 9, "brain.list.z": 11,
        "brain.when": 13, "brain.n": 14, "modules": 15, "modules.e.f": 15, "modules.e.f.in": 15,
        "modules.e.f.in.a": 16, "modules.e.f.in.a.b": 16, "many": 17, "many.k": 18,
    }  # fmt: skip
    assert key_lines(text.replace("\n", "\r\n")) == lines


@pytest.mark.parametrize("text", ["[brain", "x = [1,\n\n", '[brain]\nname = "', "a = 1\na = 2", "x = " + "[" * 9999])
def test_broken_toml_is_a_manifest_error(folder: Path, text: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.load(write(folder, text))
    assert caught.value.where.file == str(folder / "brain.toml")


def test_hostile_paths_are_refused(folder: Path) -> None:
    """No spelling of a path leads out of the folder, and odd ones do not crash."""
    for path in (
        "/etc/passwd",
        "models/../../x",
        "..",
        "C:\\\\x",
        "..\\\\x",
        "\\\\\\\\host\\\\x",
        "a\\u0000b",
        "models",
        "",
        "n" * 5000,
    ):
        with pytest.raises(ManifestError):
            manifest.load(write(folder, f'[modules.m]\nkind = "onnx"\nfile = "{path}"'))
    (folder / "loop.onnx").symlink_to(folder / "loop.onnx")
    with pytest.raises(ManifestError):
        manifest.load(write(folder, '[modules.m]\nfile = "loop.onnx"'))


def test_a_manifest_is_small(folder: Path) -> None:
    with pytest.raises(ManifestError, match="larger than 1 MB"):
        manifest.load(write(folder, "#" * (MAX_BYTES + 1)))


def test_ends_read_as_they_are_written() -> None:
    assert str(End("ears", "serving_default:0")) == "ears.serving_default:0"
