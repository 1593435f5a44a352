"""Broken manifests and the exact text that each must produce: NAME.toml beside NAME.txt.

Each runs in a folder of its own with small models beside it, through reading and linking.
`UPDATE_ERRORS=1 pytest tests/errors` writes the texts anew; read the difference before keeping it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import gguf_files
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import link, manifest
from brainc.errors import UserError

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in HERE.glob("*.toml"))


def write_dense(path: Path, source: tuple[str, list[int]], result: tuple[str, list[int]]) -> None:
    """A model of one matrix product: source [..] flattened, times ones, as result."""
    rows, columns = int(np.prod(source[1])), int(np.prod(result[1]))
    weights = numpy_helper.from_array(np.ones((rows, columns), np.float32), "w")
    shape = numpy_helper.from_array(np.array(result[1], np.int64), "shape")
    nodes = [
        helper.make_node("Flatten", [source[0]], ["flat"], axis=0 if len(source[1]) == 1 else 1),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Reshape", ["product", "shape"], [result[0]]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (source, result)]
    graph = helper.make_graph(nodes, "dense", [ports[0]], [ports[1]], [weights, shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that the manifests name, and one beside it that they may not name."""
    folder = tmp_path_factory.mktemp("models") / "brain"
    folder.mkdir()
    write_dense(folder / "eyes.onnx", ("image", [1, 1, 8, 8]), ("features", [1, 24]))
    write_dense(folder / "judge.onnx", ("features", [1, 24]), ("scores", [1, 5]))
    write_dense(folder / "judge24.onnx", ("features", [1, 24]), ("scores", [1, 24]))
    write_dense(folder / "judge25.onnx", ("features", [1, 25]), ("scores", [1, 5]))
    write_dense(folder / "judge_rows.onnx", ("features", [1, 4, 6]), ("scores", [1, 5]))
    gguf_files.write(folder / "tiny.gguf", "llama", "Q8_0")
    shutil.copy(folder / "eyes.onnx", folder.parent / "eyes.onnx")
    (folder / "outside.onnx").symlink_to(folder.parent / "eyes.onnx")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_error_text(case: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading or linking stops with exactly this text: what, where and fix."""
    folder = tmp_path / "brain"
    shutil.copytree(models, folder, symlinks=True)
    shutil.copy(HERE / f"{case}.toml", folder / "brain.toml")
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as caught:
        link.load_brain(manifest.load(Path("brain.toml")))
    expected = HERE / f"{case}.txt"
    if os.environ.get("UPDATE_ERRORS"):
        expected.write_text(f"{caught.value}\n", encoding="utf-8")
    assert f"{caught.value}\n" == expected.read_text(encoding="utf-8")
    assert caught.value.exit_code == 2 and caught.value.fix


def test_every_case_has_a_text() -> None:
    """No text without its manifest, none missing."""
    assert sorted(path.stem for path in HERE.glob("*.txt")) == CASES
