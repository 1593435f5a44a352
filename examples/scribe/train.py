"""Trains the scribe and writes `scribe.onnx` and `calibration.npz` beside this file.

    pip install torch numpy onnx       # and Debian's package bible-kjv; none of these is needed by brainc
    python examples/scribe/train.py    # about an hour on one core

First in floats, for a while at a high learning rate; then, from there to the end, as the compiled brain computes:
weights of four bits with learned scales, activations of eight. What was learnt is kept in `checkpoint.pt`;
`--export CHECKPOINT` writes the files from it again and trains nothing. `--compare` also trains, for as many steps,
what it is compared with: the same network in floats, and a smaller one in floats whose int8 form needs the same flash.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from corpus import SYMBOLS, load
from export import write_floats, write_onnx
from scribe import FloatScribe, Scribe
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
SEED = 1
STREAMS, STRETCH = 128, 96  # texts read side by side, symbols between two updates
FLOAT_STEPS, FLOAT_PLAN = 3_000, 11_000  # updates made, of a schedule laid out for more: the rest is learnt in integers
FLOAT_RATE, FLOAT_WARM = 4e-3, 200
STEPS, RATE, WARM = 7_000, 2e-3, 100
LEAST = 0.01  # of the rate, at the end
RIVAL = 74  # numbers in the state of the int8 network that needs as much flash
CALIBRATION = 2_000  # symbols


def teach(net: FloatScribe | Scribe, tokens: Tensor, steps: int, plan: int, rate: float, warm: int) -> None:
    """`steps` updates of a cosine schedule of `plan`, on streams that are read through in order."""
    adam = torch.optim.Adam(net.parameters(), rate, betas=(0.9, 0.99))
    length = (len(tokens) - 1) // STREAMS
    begins, place = torch.arange(STREAMS)[:, None] * length, length
    dice, began = torch.Generator().manual_seed(SEED), time.time()
    h = net.start(STREAMS)
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / plan))
        adam.param_groups[0]["lr"] = rate * min(1, (step + 1) / warm) * (cosine * (1 - LEAST) + LEAST)
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
        if step % 250 == 249:
            print(f"  {step + 1:6,} {time.time() - began:6.0f} s  {loss.item() / math.log(2):.3f} bits", flush=True)


@torch.no_grad()
def bits(net: FloatScribe | Scribe, tokens: Tensor, streams: int = 64) -> float:
    """Bits per symbol of a text, cut into streams that all begin with an empty state."""
    length = (len(tokens) - 1) // streams
    x, y = (tokens[i : i + streams * length].view(streams, length) for i in (0, 1))
    h, total = net.start(streams), 0.0
    for place in range(0, length, 500):
        logits, h = net(x[:, place : place + 500], h)
        wanted = y[:, place : place + 500].reshape(-1)
        total += cross_entropy(logits.reshape(-1, len(SYMBOLS)), wanted, reduction="sum").item()
    return total / (streams * length) / math.log(2)


def write(net: Scribe, known: Tensor) -> None:
    """`scribe.onnx` and `calibration.npz`."""
    write_onnx(net, HERE / "scribe.onnx")
    token = known[:CALIBRATION, None].numpy().astype(np.int32)
    heat, seed = np.full_like(token, 64), np.zeros_like(token)
    np.savez_compressed(HERE / "calibration.npz", token=token, temperature=heat, seed=seed)


def trained(known: Tensor) -> tuple[Scribe, FloatScribe]:
    """(the scribe, from nothing; the floats that it began with)."""
    floats = FloatScribe()
    print("in floats")
    teach(floats, known, FLOAT_STEPS, FLOAT_PLAN, FLOAT_RATE, FLOAT_WARM)
    net = Scribe(floats.state_dict())
    print("in integers")
    teach(net, known, STEPS, STEPS, RATE, WARM)
    torch.save({"net": net.state_dict(), "step": STEPS}, HERE / "checkpoint.pt")
    return net, floats


def compare(floats: FloatScribe, known: Tensor, held: Tensor) -> None:
    """`float.onnx` and `rival.onnx`."""
    for name, twin in (("float", floats), ("rival", FloatScribe(RIVAL))):
        print(name)
        teach(twin, known, STEPS, STEPS, RATE, WARM)
        print(f"held out: {bits(twin, held):.4f} bits per symbol")
        write_floats(twin, HERE / f"{name}.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="also train what it is compared with")
    parser.add_argument("--export", type=Path, metavar="CHECKPOINT", help="write the files from a checkpoint")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    known, held = (torch.from_numpy(part) for part in load())
    if asked.export:
        net = Scribe(FloatScribe().state_dict())
        net.load_state_dict(torch.load(asked.export)["net"])
    else:
        net, floats = trained(known)
    print(f"held out: {bits(net, held):.4f} bits per symbol")
    write(net, known)
    if asked.compare and not asked.export:
        compare(floats, known, held)


if __name__ == "__main__":
    main()
