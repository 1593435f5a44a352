"""The same small models on an Uno by brainc and by others, for `avr.py`: built, run and measured in one harness.

scikit-learn trains them on its digits (8 x 8 pixels, 1,797 of them, 30 % held out), always with the same seeds.
emlearn (pip install brainc[peers]) writes C for a network in floats and for a forest; onnx2c, where it is on the
path, writes C for an ONNX file. Every image is made with -Os and answers with a class. Its RAM is all that a model
needs beside the harness: its input, its data, its buffers and the stack.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from brainc import check, footprint, runners, toolchain
from brainc.compiler import Request, compile_job, prepare
from brainc.target import load_target

Array = npt.NDArray[Any]
UNO = "uno"
HARNESS = """#include "harness.h"
#include "peer.h"
static {ctype} x[{length}];
static {result} y[{results}];
int main(void)
{{
    br_host_open();
    while (br_host_read(x, sizeof x)) {{
        br_host_begin();
#ifndef EMPTY
        {call}
#endif
        br_host_end();
        br_host_write(y, sizeof y);
    }}
    br_host_close();
    return 0;
}}
"""


@dataclass(frozen=True)
class Split:
    """Digits to train with and digits held out; pixels from 0 to 1."""

    x: Array
    y: Array
    test_x: Array
    test_y: Array


@dataclass(frozen=True)
class Figures:
    """What a model takes on the Uno: the most cycles over the inputs, bytes, and how many classes are right."""

    cycles: int
    ram: int
    flash: int
    accuracy: float | None = None

    @property
    def fits(self) -> bool:
        """Alone, without a sketch around it."""
        spaces = load_target(UNO).spaces
        return self.ram <= spaces["ram"].bytes and self.flash <= spaces["flash"].bytes


@dataclass(frozen=True)
class Foreign:
    """Somebody's C: a header, where its own headers lie, the call that answers, and the types at its ends."""

    header: str
    include: tuple[Path, ...]
    call: str
    ctype: str
    result: str = "int16_t"
    results: int = 1


def split(side: int) -> Split:
    """The digits at `side` x `side` pixels: 8 as they are, 4 by the mean of every four."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    step = 8 // side
    small = x.reshape(-1, side, step, side, step).mean(axis=(2, 4)).reshape(len(x), -1) / 16
    a, b, c, d = train_test_split(small.astype(np.float32), y, test_size=0.3, random_state=0, stratify=y)
    return Split(a, c, b, d)


def network(data: Split, hidden: int) -> Any:
    """A trained perceptron with one hidden layer of ReLUs."""
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return MLPClassifier((hidden,), random_state=0, max_iter=1000).fit(data.x, data.y)


def forest(data: Split, trees: int) -> Any:
    """A trained forest over pixels from 0 to 256: between any two digits' grey values lies an integer."""
    from sklearn.ensemble import RandomForestClassifier

    leaves = 60 if trees > 5 else 20
    grown = RandomForestClassifier(trees, max_leaf_nodes=leaves, random_state=0)
    return grown.fit(as_integers(data.x), data.y)


def as_integers(x: Array) -> Array:
    return np.round(x * 256).astype(np.int16)


def as_onnx(model: Any, path: Path) -> Path:
    """The perceptron in ONNX, as far as the class: Gemm, Relu, Gemm, ArgMax."""
    tensors = {f"w{i}": w for i, w in enumerate(model.coefs_)} | {f"b{i}": b for i, b in enumerate(model.intercepts_)}
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], "hidden"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["scores"], "scores"),
        helper.make_node("ArgMax", ["scores"], ["y"], "digit", axis=1, keepdims=0),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, len(model.coefs_[0])))
    y = helper.make_tensor_value_info("y", TensorProto.INT64, (1,))
    given = [numpy_helper.from_array(t.astype(np.float32), name) for name, t in tensors.items()]
    graph = helper.make_graph(nodes, path.stem, [x], [y], given)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def by_brainc(path: Path, data: Split, io: str, quantize: str = "int8") -> Figures:
    """An ONNX file compiled for the Uno, calibrated with what it was trained on."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        np.savez(work / "train.npz", x=data.x[:, None])
        program = compile_job(prepare(Request(path, quantize, str(work / "train.npz"), io=io), UNO))
        given = _as_port(program.graph.type("x"), data.test_x)
        image = check.firmware(program, work / "full", roomy=True)
        told = runners.run(image, check.to_bytes(program.graph, {"x": given}), len(given))
        taken = footprint.measured(program)
        answers = check.from_bytes(program.graph, told.outputs, len(given))
    right = np.array([int(next(iter(a.values())).reshape(-1)[0]) for a in answers]) == data.test_y
    ram = taken.arena + taken.state + (taken.static or 0) + (told.stack or 0)
    return Figures(max(told.cycles or ()), ram, taken.flash, float(right.mean()))


def _as_port(type_: Any, x: Array) -> Array:
    """Pixels as the port takes them: floats, or the integers of its scale."""
    if type_.dtype.kind == "float":
        return x[:, None].astype(np.float32)
    whole = np.rint(x / type_.quant.scale[0]) + type_.quant.zero[0]
    return np.clip(whole, -128, 127).astype(np.int8)[:, None]


def by_emlearn(model: Any, data: Split, *, integers: bool = False) -> Figures:
    """The same model as emlearn's C."""
    # Imported, it makes numpy raise for everybody; converting, it leaves files in the folder it is called from.
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"), chdir(folder):
        import emlearn

        np.seterr(all="ignore")
        header, given = Path(folder) / "model.h", as_integers(data.test_x) if integers else data.test_x
        kind = {"dtype": "int16_t"} if integers else {}
        emlearn.convert(model, method="inline", **kind).save(file=str(header), name="model")
        length = given.shape[1]
        call = f"y[0] = (int16_t)model_predict(x, {length});"
        ctype = "int16_t" if integers else "float"
        peer = Foreign(header.read_text(), (Path(emlearn.includedir),), call, ctype)
        return measured(peer, given, data.test_y)


def by_onnx2c(path: Path, inputs: Array, results: int) -> Figures | None:
    """An ONNX file as onnx2c's C in floats; None where it is not here.

    Without its -a, which puts weights into flash and then reads one byte of each: answers would be wrong.
    """
    program = shutil.which("onnx2c")
    if program is None:
        return None
    text = subprocess.run([program, str(path)], capture_output=True, text=True, check=True).stdout
    shape = "".join(f"[{n}]" for n in inputs.shape[1:])
    call = f"entry((const float (*){shape[shape.index(']') + 1 :]})x, (float (*)[{results}])y);"
    return measured(Foreign(text, (), call, "float", "float", results), inputs, None)


def measured(peer: Foreign, inputs: Array, classes: Array | None) -> Figures:
    """Builds somebody's C into the harness and runs it over the inputs; against their classes, if there are."""
    with tempfile.TemporaryDirectory() as folder:
        full, bare = (_image(peer, inputs[0].size, Path(folder) / name, name) for name in ("full", "empty"))
        told = runners.run(full, inputs.tobytes(), len(inputs))
    ends = inputs[0].nbytes + peer.results * np.dtype(peer.result.removesuffix("_t").replace("float", "f4")).itemsize
    ram = full.image.ram_bytes - bare.image.ram_bytes + ends + (told.stack or 0)
    right = None
    if classes is not None:
        right = float((np.frombuffer(told.outputs, np.int16) == classes).mean())
    return Figures(max(told.cycles or ()), ram, full.image.flash_bytes - bare.image.flash_bytes, right)


def _image(peer: Foreign, length: int, work: Path, kind: str) -> toolchain.Firmware:
    """With its warnings off: it is not ours."""
    work.mkdir()
    (work / "peer.h").write_text("#pragma GCC system_header\n" + peer.header)
    words = {"ctype": peer.ctype, "length": length, "result": peer.result, "results": peer.results, "call": peer.call}
    (work / "main.c").write_text(HARNESS.format(**words))
    defines = ["EMPTY"] if kind == "empty" else []
    include = [work, *peer.include]
    return toolchain.build(load_target(UNO), [work / "main.c"], include, work, roomy=True, defines=defines)
