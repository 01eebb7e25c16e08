"""Dropout whose random bits are cheap on a CPU."""

import torch
from torch import nn
from torch.nn import functional as F

_BITS = 16


class Dropout(nn.Module):
    """Dropout from 16 random bits an element.

    On a CPU torch draws one random number an element, which costs more than the matrix products between two dropouts.
    Here four elements share a draw. `p` is rounded to 1/65536, and the scale is exact for the rounded share. Other
    devices use torch's own dropout.

    `p`: share of the elements set to zero in training, below 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._dropped = min(round(p * 2**_BITS), 2**_BITS - 1)  # never drops everything

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self._dropped:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        # `random_` alone leaves the sign bit of int64 unset; the full range sets all 64 bits.
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= self._dropped - 2 ** (_BITS - 1)
        scale = 2**_BITS / (2**_BITS - self._dropped)
        scaled: torch.Tensor = kept.to(x.dtype).mul_(scale)
        return x * scaled
