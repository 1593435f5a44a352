"""The example models before brainc has touched them: what the READMEs promise, proved with onnxruntime.

Float accuracy on held-out digits, no digit both held out and used for calibration, digits and labels that are
scikit-learn's, valid ONNX files with the ports that `brain.toml` names, and files that stay small.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

EXAMPLES = Path(__file__).parents[2] / "examples"
BRAINS = ("digits", "sorter")
MODELS = ("digits/digits.onnx", "sorter/eyes.onnx", "sorter/judge.onnx", "sorter/judge_small.onnx")
HELD_OUT = 360
SMALL = 64 * 1024  # bytes

Array = NDArray[Any]


def answers(images: Array, *models: str) -> Array:
    """The class with the largest score for each of images[N,1,8,8], through one model after another."""
    runtime = pytest.importorskip("onnxruntime")
    sessions = [runtime.InferenceSession(EXAMPLES / model, providers=["CPUExecutionProvider"]) for model in models]
    classes = []
    for image in images:
        signal = image[None]
        for session in sessions:
            (signal,) = session.run(None, {session.get_inputs()[0].name: signal})
        classes.append(signal.argmax())
    return np.array(classes)


def samples(brain: str, file: str) -> tuple[Array, Array]:
    """Images [N,1,8,8] and labels [N]."""
    with np.load(EXAMPLES / brain / file) as arrays:
        assert sorted(arrays) == ["image", "y"]
        return arrays["image"], arrays["y"]


def rows(images: Array) -> set[bytes]:
    return {image.tobytes() for image in images}


def modules() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every model file that a manifest names, variants included: path, ports, and the module's name."""
    for brain in BRAINS:
        manifest = tomllib.loads((EXAMPLES / brain / "brain.toml").read_text(encoding="utf-8"))
        for name, module in manifest["modules"].items():
            for choice in (module, *module.get("variants", {}).values()):
                yield f"{brain}/{choice['file']}", module, name


def ports(values: Any) -> dict[str, str]:
    """ONNX ports as a manifest writes them: name -> f32[1,24]."""
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in values)
    shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values}
    return {name: f"f32[{','.join(map(str, shape))}]" for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("models", "right"),
    [
        (["digits/digits.onnx"], 358),
        (["sorter/eyes.onnx", "sorter/judge.onnx"], 352),
        (["sorter/eyes.onnx", "sorter/judge_small.onnx"], 350),
    ],
)
def test_float_models_read_as_many_held_out_digits_as_the_readme_says(models: list[str], right: int) -> None:
    brain = EXAMPLES / models[0]
    images, labels = samples(brain.parent.name, "test.npz")
    assert (answers(images, *models) == labels).sum() == right
    readme = (brain.parent / "README.md").read_text(encoding="utf-8")
    assert f"{right / HELD_OUT:.1%}".replace("%", " %") in readme
    assert right / HELD_OUT >= (0.975 if brain.parent.name == "digits" else 0.97)


@pytest.mark.parametrize("brain", BRAINS)
def test_no_held_out_digit_was_used_for_calibration(brain: str) -> None:
    held, _ = samples(brain, "test.npz")
    used, _ = samples(brain, "calibration.npz")
    assert len(rows(held)) == len(held) == HELD_OUT
    assert 100 <= len(used) <= 200
    assert not rows(held) & rows(used)


@pytest.mark.parametrize("brain", BRAINS)
@pytest.mark.parametrize("file", ["test.npz", "calibration.npz"])
def test_samples_are_real_digits_under_their_true_labels(brain: str, file: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    source = datasets.load_digits()
    truth = {
        (image / 16).astype(np.float32).tobytes(): int(digit)
        for image, digit in zip(source.images, source.target, strict=True)
    }
    images, labels = samples(brain, file)
    assert images.dtype == np.float32 and images.shape[1:] == (1, 8, 8)
    digits = np.array([truth[image.tobytes()] for image in images])
    assert np.array_equal(labels, digits if brain == "digits" else digits // 2)


def test_manifests_name_every_model_and_its_ports() -> None:
    found = list(modules())
    assert sorted(file for file, _, _ in found) == sorted(MODELS)
    for file, module, _ in found:
        graph = onnx.load(EXAMPLES / file).graph
        assert ports(graph.input) == module["in"], file
        assert ports(graph.output) == module["out"], file


@pytest.mark.parametrize("model", MODELS)
def test_models_are_valid_onnx_with_names_for_people(model: str) -> None:
    loaded = onnx.load(EXAMPLES / model)
    onnx.checker.check_model(loaded, full_check=True)
    names = [node.name for node in loaded.graph.node]
    assert all(name.isidentifier() for name in names) and len(set(names)) == len(names)


@pytest.mark.parametrize("brain", BRAINS)
def test_files_stay_small(brain: str) -> None:
    files = [path for path in (EXAMPLES / brain).iterdir() if path.is_file()]
    assert {path.name: path.stat().st_size for path in files if path.stat().st_size >= SMALL} == {}
