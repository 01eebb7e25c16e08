"""eSASRec's encoder: blocks of LiGR (Tikhonovich et al., RecSys 2025, arXiv 2508.06450).

Each residual is gated by the block's input, and the feed-forward network is a SwiGLU. Its third part, the sampled
softmax, is this package's usual loss.
"""

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.batching.sequences import read
from h2rec.models.backbones.transformer import Block, TransformerBackbone


class SwiGLU(nn.Module):
    """``W_3 (silu(W_1 x) * W_2 x)`` (Shazeer, 2020, arXiv 2002.05202), four times as wide as its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate_and_value = nn.Linear(dim, 8 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.gate_and_value(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)  # type: ignore[no-any-return]


class GatedBlock(Block):
    """A residual block whose two branches are gated by ``sigmoid(W x)``."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        self.attention_gate = nn.Linear(dim, dim)
        self.feed_forward_gate = nn.Linear(dim, dim)

    @classmethod
    def make_feed_forward(cls, dim: int) -> nn.Module:
        return SwiGLU(dim)

    def forward(
        self, x: torch.Tensor, visible: torch.Tensor | None, at: torch.Tensor | None = None
    ) -> torch.Tensor:
        found = self.mix(self.attention_norm(x), visible, at)
        x = x if at is None else read(x, at)
        x = x + self.dropout(found * torch.sigmoid(self.attention_gate(x)))
        fed = self.feed_forward(self.feed_forward_norm(x))
        return x + self.dropout(fed * torch.sigmoid(self.feed_forward_gate(x)))  # type: ignore[no-any-return]


class ESASRecBackbone(TransformerBackbone):
    """Causal, as SASRec."""

    block = GatedBlock
