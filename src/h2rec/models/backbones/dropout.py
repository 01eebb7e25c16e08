"""Dropout whose random bits are cheap on a CPU."""

import torch
from torch import nn
from torch.nn import functional as F

_BITS = 16


class Dropout(nn.Module):
    """Dropout from 16 random bits an element.

    On a CPU torch draws a whole random number an element, which costs more than the matrix products between two
    dropouts. Here four elements share one draw; the share that is dropped is `p` to the nearest 1/65536, and what
    is kept is scaled by exactly that share. Other devices use torch's own.

    `p`: share of the elements set to zero in training, below 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._dropped = min(round(p * 2**_BITS), 2**_BITS - 1)  # something is kept, however little

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop elements of a tensor of any shape; outside training it passes unchanged."""
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

    def extra_repr(self) -> str:
        """Show the share in the module's printed form."""
        return f"p={self.p}"
