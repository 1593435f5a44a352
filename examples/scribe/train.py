"""Trains the scribe and writes `scribe.onnx` and `calibration.npz` beside this file.

    pip install torch numpy onnx       # and Debian's package bible-kjv; none of these is needed by brainc
    python examples/scribe/train.py    # about 35 minutes on one quiet core

In phases (`PHASES`): activations of eight bits, as the compiled brain computes them; then weights of four bits with
learned scales as well; then those alone, whose gradient is truer; and a last touch with both. `--export` writes the
files again from the checkpoint.
`--compare` trains instead, for as many steps, what it is compared with: the same network in floats (`float.onnx`), and
a smaller one in floats (`rival.onnx`) that needs the same flash as int8.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from cell import Steps
from corpus import SYMBOLS, load
from export import write_onnx
from scribe import EXACT, ROUNDED, SIZE, Scribe
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
CHECKPOINT = HERE / "checkpoint.pt"  # of the training under way
SEED = 1
STREAMS, STRETCH = 128, 96  # texts read side by side, symbols between two updates
LEAST = 0.01  # of a phase's rate, at the end of its plan
RIVAL = 74  # numbers in the state of the int8 network that needs as much flash
CALIBRATION = 2_000  # symbols
KEPT = 250  # updates between two checkpoints


class Phase(NamedTuple):
    """Updates first .. last of a cosine schedule of `plan`, from `rate` on; what is rounded meanwhile."""

    first: int
    last: int
    plan: int
    rate: float
    warm: int
    four_bits: bool
    steps: Steps


PHASES = (
    Phase(0, 4_000, 11_000, 4e-3, 200, False, ROUNDED),
    Phase(4_000, 11_000, 11_000, 4e-3, 200, True, ROUNDED),
    Phase(0, 6_000, 6_000, 2e-3, 100, True, EXACT),
    Phase(0, 2_500, 2_500, 1e-3, 100, True, ROUNDED),
)
COMPARED = Phase(0, 11_000, 11_000, 4e-3, 200, False, EXACT)


def teach(net: Scribe, tokens: Tensor, phase: Phase) -> None:
    """One phase, on streams that are read through in order."""
    net.steps = phase.steps
    adam = torch.optim.Adam(net.parameters(), phase.rate, betas=(0.9, 0.99))
    length = (len(tokens) - 1) // STREAMS
    begins, place = torch.arange(STREAMS)[:, None] * length, length
    dice, began = torch.Generator().manual_seed(SEED), time.time()
    h = net.start(STREAMS)
    for step in range(phase.first, phase.last):
        share = LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * step / phase.plan))
        adam.param_groups[0]["lr"] = phase.rate * min(1, (step - phase.first + 1) / phase.warm) * share
        if place + STRETCH + 1 > length:
            place, h = int(torch.randint(0, STRETCH, (1,), generator=dice)), net.start(STREAMS)
        here = begins + place + torch.arange(STRETCH)[None]
        place += STRETCH
        logits, h = net(tokens[here], h)
        loss = cross_entropy(logits.reshape(-1, len(SYMBOLS)), tokens[here + 1].reshape(-1))
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        if (step + 1) % KEPT == 0:
            print(f"  {step + 1:6,} {time.time() - began:6.0f} s  {loss.item() / math.log(2):.3f} bits", flush=True)
            torch.save(net.state_dict(), CHECKPOINT)


@torch.no_grad()
def bits(net: Scribe, tokens: Tensor, streams: int = 64) -> float:
    """Bits per symbol of a text, cut into streams that all begin with an empty state."""
    length = (len(tokens) - 1) // streams
    x, y = (tokens[i : i + streams * length].view(streams, length) for i in (0, 1))
    h, total = net.start(streams), 0.0
    for place in range(0, length, 500):
        logits, h = net(x[:, place : place + 500], h)
        wanted = y[:, place : place + 500].reshape(-1)
        total += cross_entropy(logits.reshape(-1, len(SYMBOLS)), wanted, reduction="sum").item()
    return total / (streams * length) / math.log(2)


def write(net: Scribe) -> None:
    """`scribe.onnx` and `calibration.npz`."""
    known, _ = load()
    token = known[:CALIBRATION, None].astype(np.int32)
    write_onnx(net, HERE / "scribe.onnx")
    heat, seed = np.full_like(token, 64), np.zeros_like(token)
    np.savez_compressed(HERE / "calibration.npz", token=token, temperature=heat, seed=seed)


def trained(known: Tensor, held: Tensor) -> Scribe:
    """The scribe, from nothing."""
    net, four_bits = Scribe.fresh(), False
    for phase in PHASES:
        if phase.four_bits and not four_bits:
            net, four_bits = net.in_four_bits(), True
        teach(net, known, phase)
        net.steps = ROUNDED
        print(f"{phase}: {bits(net, held):.4f} bits per symbol held out", flush=True)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="train what it is compared with")
    parser.add_argument("--export", action="store_true", help="write the files from the checkpoint of a training")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    known, held = (torch.from_numpy(part) for part in load())
    if asked.compare:
        for name, size in (("float", SIZE), ("rival", RIVAL)):
            twin = Scribe.fresh(size)
            teach(twin, known, COMPARED)
            print(f"{name}: {bits(twin, held):.4f} bits per symbol held out")
            write_onnx(twin, HERE / f"{name}.onnx")
        return
    if asked.export:
        net = Scribe.fresh(steps=ROUNDED).in_four_bits()
        net.load_state_dict(torch.load(CHECKPOINT))
    else:
        net = trained(known, held)
    write(net)


if __name__ == "__main__":
    main()
