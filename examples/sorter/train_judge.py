"""Trains the judge: the eyes' 24 features in, a score per tray out. Writes `judge.onnx`, `judge_small.onnx`.

    pip install scikit-learn numpy onnx onnxruntime    # no torch: the eyes are only looked through
    python examples/sorter/train_judge.py              # about half a minute

Run it after `train_eyes.py`, or alone whenever the trays change: all it knows of the eyes is `eyes.onnx`. It
also writes `calibration.npz` and `test.npz`, whose labels are trays.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from digits_data import HERE, Digits, Images, Labels, jiggle, load, node, write_onnx
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

TRAYS = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])  # where a postcode that starts with 0, 1 ... 9 goes
JUDGES = {"judge.onnx": 24, "judge_small.onnx": 8}  # file: hidden units
CALIBRATION, COPIES, SEEDS = 150, 6, range(3)

Features = NDArray[np.float32]  # [N,24]


def look(images: Images) -> Features:
    """What the eyes, in float, make of these images, one at a time as on the board."""
    eyes = onnxruntime.InferenceSession(HERE / "eyes.onnx", providers=["CPUExecutionProvider"])
    return np.concatenate([eyes.run(["features"], {"image": image[None]})[0] for image in images])


def fit(features: Features, trays: Labels, hidden: int, seed: int) -> MLPClassifier:
    """One hidden layer, trained from one seed for a fixed time."""
    judge = MLPClassifier((hidden,), alpha=0.1, batch_size=64, max_iter=50, random_state=seed)
    judge.set_params(learning_rate_init=3e-3, n_iter_no_change=50)
    return judge.fit(features, trays)


def write_judge(judge: MLPClassifier, name: str) -> None:
    """scikit-learn's weights as an ONNX graph, without the softmax: the largest score is the same."""
    (w1, w2), (b1, b2) = judge.coefs_, judge.intercepts_
    taught = {"hidden.weight": w1.T, "hidden.bias": b1, "decide.weight": w2.T, "decide.bias": b2}
    weights = {key: np.ascontiguousarray(array, np.float32) for key, array in taught.items()}
    nodes = [
        node("hidden", "Gemm", "features hidden.weight hidden.bias", transB=1),
        node("relu", "Relu", "hidden"),
        node("decide", "Gemm", "relu decide.weight decide.bias", "scores", transB=1),
    ]
    write_onnx(HERE / name, nodes, weights, ("features", [1, len(w1)]), ("scores", [1, len(b2)]))


def write_samples(learn: Digits, held: Digits) -> None:
    """Samples for the whole brain: images in, trays as labels."""
    images, trays = learn.images[:CALIBRATION], TRAYS[learn.labels[:CALIBRATION]]
    np.savez_compressed(HERE / "calibration.npz", image=images, y=trays)
    np.savez_compressed(HERE / "test.npz", image=held.images, y=TRAYS[held.labels])


def main() -> None:
    learn, choose, held = load()
    write_samples(learn, held)
    dice = np.random.default_rng(0)
    shown = np.concatenate([learn.images, *(jiggle(learn.images, dice) for _ in range(COPIES))])
    features, trays = look(shown), np.tile(TRAYS[learn.labels], COPIES + 1)
    features_val, trays_val = look(choose.images), TRAYS[choose.labels]
    features_held, trays_held = look(held.images), TRAYS[held.labels]
    for name, hidden in JUDGES.items():
        judges = [fit(features, trays, hidden, seed) for seed in SEEDS]
        accuracies = [judge.score(features_val, trays_val) for judge in judges]
        best = max(SEEDS, key=accuracies.__getitem__)
        write_judge(judges[best], name)
        print(
            f"{name}: {hidden} hidden units, seed {best}, accuracy {accuracies[best]:.4f} on validation, "
            f"{judges[best].score(features_held, trays_held):.4f} on the held-out digits"
        )


if __name__ == "__main__":
    main()
