"""The network, twice: in floats, to start from, and as the compiled brain computes it.

A GRU of 104 numbers that reads one symbol at a time and says how likely each symbol is to come next.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from cell import STATE, Cell, Steps, rounded
from corpus import SYMBOLS
from rows import Rows, through
from torch import Tensor, nn

SIZE, EMBEDDED = 104, 16
TOKEN, KEPT, SCALED = 8.0, 12.0, 8.0  # the farthest that the parts of a new state go
STEPS = Steps(gates=8 / 127, token=TOKEN / 127, kept=KEPT / 127, scaled=SCALED / 127, sum=4 / 127)
LOGIT, LOGIT_ZERO = 0.12, 40  # the step of a logit; most are negative
LOGITS = (LOGIT * (-128 - LOGIT_ZERO), LOGIT * (127 - LOGIT_ZERO))  # -20.2 .. 10.4


class FloatScribe(nn.Module):
    """tokens [B,T], h [1,B,H] -> logits [B,T,38], h."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.size = size
        self.e = nn.Embedding(len(SYMBOLS), EMBEDDED)
        self.g = nn.GRU(EMBEDDED, size, batch_first=True)
        self.o = nn.Linear(size, len(SYMBOLS))

    def start(self, streams: int) -> Tensor:
        return torch.zeros(1, streams, self.size)

    def forward(self, tokens: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.g(self.e(tokens), h)
        return self.o(y), h.detach()


class Scribe(nn.Module):
    """tokens [B,T], h [B,H] -> logits [B,T,38], h: what the integers of the brain stand for."""

    def __init__(self, floats: Mapping[str, Tensor]) -> None:
        """`floats`: the parameters of a FloatScribe."""
        super().__init__()
        wi, wh, bi, bh = (floats[f"g.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        self.size = size = wh.shape[1]
        both = 2 * size  # the reset and the keep gate
        most = floats["e.weight"].abs().max() * (128 / 127)
        wi = wi * most  # so that symbols lie in -1 .. 1, as states do
        self.table = nn.Parameter(floats["e.weight"] / most)
        self.gates = Rows(torch.cat((wh[:both], wi[:both]), 1), bi[:both] + bh[:both])
        self.new = Rows(wi[both:], bi[both:])
        self.kept = Rows(wh[both:], bh[both:])
        self.out = Rows(floats["o.weight"], floats["o.bias"])

    def start(self, streams: int) -> Tensor:
        return torch.zeros(streams, self.size)

    def table_integers(self) -> Tensor:
        """The symbols' numbers as int8 [38,16], in steps of the state's."""
        return (self.table.detach() / STATE).round().clamp(-128, 127).to(torch.int8)

    def forward(self, tokens: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        table = through((self.table / STATE).clamp(-128, 127)) * STATE
        gates, new, size = self.gates(), self.new(), self.size
        parts = table @ torch.cat((gates[:, size:], new)).t() + torch.cat((self.gates.bias, self.new.bias))
        recurrent = torch.cat((gates[:, :size], self.kept()))
        y = Cell.apply(tokens.t().contiguous(), parts, recurrent, self.kept.bias, h, STEPS)
        logits = y @ self.out().t() + self.out.bias
        known = logits.detach()
        logits = logits + (rounded(known, LOGIT, -128 - LOGIT_ZERO, 127 - LOGIT_ZERO) - known)
        return logits.transpose(0, 1), y[-1].detach()
