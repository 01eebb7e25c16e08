"""SASRec with a causal convolution beside attention: what came last, and in which order.

Attention weighs all of a history; which item came directly before which it has to learn from positions. A depthwise
convolution over the last `WIDTH` positions reads that off (cf. Wu et al., ICLR 2020, arXiv 2004.11886, and So et al.,
Primer, NeurIPS 2021, arXiv 2109.08668).
"""

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.models.backbones.transformer import Block, TransformerBackbone

WIDTH = 4
"""Positions that the convolution reads: a position and the three before it."""


class ConvolutionBlock(Block):
    """Attention plus a depthwise convolution of the same input, which starts at zero."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        self.kernel = nn.Parameter(torch.zeros(WIDTH, dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def mix(self, x: torch.Tensor, visible: torch.Tensor | None, at: torch.Tensor | None) -> torch.Tensor:
        if at is not None:
            lags = torch.arange(WIDTH, device=x.device)
            behind = (at[:, None] - lags).clamp(min=0)
            before = x.flatten(0, 1)[behind] * (at[:, None] % x.shape[1] >= lags)[..., None]
            return super().mix(x, visible, at) + (before * self.kernel).sum(1) + self.bias
        local = x * self.kernel[0] + self.bias
        # Sums of shifted inputs: on a CPU several times faster than `conv1d`, which wants steps last.
        for lag in range(1, WIDTH):
            local = local + F.pad(x * self.kernel[lag], (0, 0, lag, 0))[:, : x.shape[1]]
        return super().mix(x, visible, at) + local


class ConvolutionBackbone(TransformerBackbone):
    """Causal, as SASRec."""

    block = ConvolutionBlock
