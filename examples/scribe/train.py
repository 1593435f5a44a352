"""Trains the scribe and writes `scribe.onnx` and `calibration.npz` beside this file.

    pip install torch numpy onnx       # and Debian's package bible-kjv; none of these is needed by brainc
    python examples/scribe/train.py    # two minutes on a large graphics card (with nvcc), some hours on a core

In phases (`PHASES`): in floats; with weights of four bits that have learned scales; with the activations inside rounded
as well; and gently with all that the compiled brain rounds, since 4-bit weights settle only at a low rate.
`--export` writes the files again from the checkpoint.
`--compare` trains instead what it is compared with: the same network in floats (`float.onnx`), and
a smaller one in floats (`rival.onnx`) that needs the same flash as int8.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from cell import Steps
from corpus import SYMBOLS, load
from export import write_onnx
from scribe import EXACT, INSIDE, ROUNDED, SIZE, Scribe
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
CHECKPOINT = HERE / "checkpoint.pt"  # of the training under way
SEED = 1
STREAMS, STRETCH = 128, 96  # texts read side by side, symbols between two updates
LEAST = 0.01  # of a phase's rate, at the end of its plan
RIVAL = 74  # numbers in the state of the int8 network that needs as much flash
CALIBRATION = 2_000  # symbols
CENTRED = 1e-3  # what it costs that logits are not logarithms of probabilities: keeps them within the range of an int8
KEPT = 1_000  # updates between two checkpoints


class Phase(NamedTuple):
    """Updates with a rate that falls like half a cosine, after a rise of `warm` updates; what is rounded meanwhile."""

    updates: int
    rate: float
    warm: int
    four_bits: bool
    steps: Steps


PHASES = (
    Phase(30_000, 4e-3, 200, False, EXACT),
    Phase(30_000, 2e-3, 100, True, EXACT),
    Phase(20_000, 1e-3, 100, True, INSIDE),
    Phase(20_000, 1e-4, 100, True, ROUNDED),
)
COMPARED = Phase(130_000, 4e-3, 200, False, EXACT)  # longer than all of the above


class Updates:
    """One update of a network after another, each from a stretch of all streams; a CUDA graph on a graphics card."""

    def __init__(self, net: Scribe, rate: float, seen: Tensor) -> None:
        """`seen` [B,T+1]: symbols; each is to foretell the next. It is read at every update."""
        self.net, self.seen = net, seen
        self.rate = torch.tensor(rate, device=seen.device)
        self.h = net.start(len(seen))
        self.centred = CENTRED if net.steps.state else 0.0
        self.loss = torch.zeros((), device=seen.device)
        betas, card = (0.9, 0.99), seen.is_cuda
        self.adam = torch.optim.Adam(net.parameters(), self.rate, betas, capturable=card, fused=True)
        self.again = self.captured() if card else self.once

    def once(self) -> None:
        """One update; `h` and `loss` change in place."""
        logits, h = self.net(self.seen[:, :-1], self.h)
        logits = logits.reshape(-1, len(SYMBOLS))
        loss = cross_entropy(logits, self.seen[:, 1:].reshape(-1))
        self.adam.zero_grad(set_to_none=True)
        (loss + self.centred * logits.logsumexp(1).square().mean()).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.adam.step()
        self.h.copy_(h), self.loss.copy_(loss.detach())

    def captured(self) -> Callable[[], None]:
        """`once` as a graph: hundreds of small kernels start with one call. Two updates at a rate of 0 warm it up."""
        rate, aside = self.rate.clone(), torch.cuda.Stream()
        self.rate.zero_()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self.once(), self.once()
        torch.cuda.current_stream().wait_stream(aside)
        for state in self.adam.state.values():
            for number in state.values():
                number.zero_()
        graph = torch.cuda.CUDAGraph()
        self.adam.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.once()
        self.rate.copy_(rate), self.h.zero_()
        return graph.replay


def teach(net: Scribe, tokens: Tensor, phase: Phase) -> None:
    """One phase, on streams that are read through in order."""
    net.steps = phase.steps
    length = (len(tokens) - 1) // STREAMS
    begins, place = torch.arange(STREAMS, device=tokens.device)[:, None] * length, length
    stretch = torch.arange(STRETCH + 1, device=tokens.device)[None]
    dice, began = torch.Generator().manual_seed(SEED), time.time()
    updates = Updates(net, phase.rate, torch.zeros_like(begins + stretch))
    for step in range(phase.updates):
        share = LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * step / phase.updates))
        updates.rate.fill_(phase.rate * min(1, (step + 1) / phase.warm) * share)
        if place + STRETCH + 1 > length:
            place = int(torch.randint(0, STRETCH, (1,), generator=dice))
            updates.h.zero_()
        updates.seen.copy_(tokens[begins + place + stretch])
        place += STRETCH
        updates.again()
        if (step + 1) % KEPT == 0:
            loss = updates.loss.item() / math.log(2)
            print(f"  {step + 1:6,} {time.time() - began:6.0f} s  {loss:.3f} bits", flush=True)
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
    net, four_bits = Scribe.fresh().to(known.device), False
    for phase in PHASES:
        if phase.four_bits and not four_bits:
            net, four_bits = net.in_four_bits(), True
        teach(net, known, phase)
        print(f"{phase.updates:,} updates from {phase.rate}: {bits(net, held):.4f} bits held out", flush=True)
    return net


def compared(known: Tensor, held: Tensor) -> None:
    """What the scribe is compared with."""
    for name, size in (("float", SIZE), ("rival", RIVAL)):
        twin = Scribe.fresh(size).to(known.device)
        teach(twin, known, COMPARED)
        print(f"{name}: {bits(twin, held):.4f} bits per symbol held out", flush=True)
        write_onnx(twin.cpu(), HERE / f"{name}.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="train what it is compared with")
    parser.add_argument("--export", action="store_true", help="write the files from the checkpoint of a training")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() and shutil.which("nvcc") else "cpu"
    known, held = (torch.from_numpy(part).to(device) for part in load())
    if asked.compare:
        compared(known, held)
        return
    if asked.export:
        net = Scribe.fresh(steps=ROUNDED).in_four_bits()
        net.load_state_dict(torch.load(CHECKPOINT, map_location="cpu"))
    else:
        net = trained(known, held)
    write(net.cpu())


if __name__ == "__main__":
    main()
