"""The network: a GRU of 104 numbers that reads one symbol at a time and says how likely each is to come next.

It computes in floats, or with the rounding of the compiled brain: activations of eight bits, then weights of four.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from cell import STATE, Cell, Steps
from corpus import SYMBOLS
from rows import Plain, Rows, through
from torch import Tensor, nn

SIZE, EMBEDDED = 104, 16
EXACT = Steps()
# Beyond these sums int8 answers do not change.
ROUNDED = Steps(gates=6.24 / 128, sum=3.12 / 128, fresh=STATE, state=STATE)
INSIDE = Steps(gates=ROUNDED.gates, sum=ROUNDED.sum, fresh=STATE)  # all but the state and the logits
LOGIT, LOGIT_ZERO = 0.12, 40  # the step of a logit; most are negative
LOGITS = (LOGIT * (-128 - LOGIT_ZERO), LOGIT * (127 - LOGIT_ZERO))  # -20.2 .. 10.4
LAYERS = ("gates", "new", "out")


class Scribe(nn.Module):
    """tokens [B,T], h [B,H] -> logits [B,T,38], h."""

    def __init__(self, layers: Mapping[str, Plain | Rows], table: Tensor, steps: Steps) -> None:
        """`layers`: gates [2H,H+16], new [H,H+16] and out [38,H]; `table`: a symbol's numbers [38,16]."""
        super().__init__()
        self.layers, self.table, self.steps = nn.ModuleDict(layers), nn.Parameter(table), steps
        self.size = layers["out"].weight.shape[1]

    @staticmethod
    def fresh(size: int = SIZE, steps: Steps = EXACT) -> Scribe:
        """A network that knows nothing yet."""
        shapes = {"gates": (2 * size, size + EMBEDDED), "new": (size, size + EMBEDDED), "out": (len(SYMBOLS), size)}
        layers = {name: Plain(torch.empty(shape).uniform_(-1, 1) / size**0.5) for name, shape in shapes.items()}
        return Scribe(layers, torch.rand(len(SYMBOLS), EMBEDDED) - 0.5, steps)

    def in_four_bits(self) -> Scribe:
        """The same network with its weights rounded, as far as training has come."""
        layers = {name: Rows(self.layers[name].weight, self.layers[name].bias) for name in LAYERS}
        return Scribe(layers, self.table.detach().clone(), self.steps)

    def start(self, streams: int) -> Tensor:
        return torch.zeros(streams, self.size, device=self.table.device)

    def table_integers(self) -> Tensor:
        """The symbols' numbers as int8 [38,16], in steps of the state's."""
        return (self.table.detach() / STATE).round().clamp(-128, 127).to(torch.int8)

    def forward(self, tokens: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        gates, new, out = (self.layers[name] for name in LAYERS)
        wide, size = torch.cat((gates(), new())), self.size  # what a row does with the state, then with the symbol
        table = self.table
        if self.steps.state or isinstance(gates, Rows):
            table = through((table / STATE).clamp(-128, 127)) * STATE
        parts = table @ wide[:, size:].t() + torch.cat((gates.bias, new.bias))
        recurrent = wide[:, :size].split([2 * size, size])
        y = Cell.apply(tokens.t().contiguous(), parts, *recurrent, h, self.steps)
        logits = y @ out().t() + out.bias
        if self.steps.state:
            logits = through(logits.clamp(*LOGITS) / LOGIT) * LOGIT
        return logits.transpose(0, 1), y[-1].detach()
