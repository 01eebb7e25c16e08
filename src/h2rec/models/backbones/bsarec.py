"""BSARec: attention beside a filter of frequencies (Shin et al., AAAI 2024, arXiv 2312.10325).

Attention smooths: it loses the quick changes of a history. The filter splits the input into its low frequencies and
the rest, and weighs the rest by a learned factor.

The published filter is a Fourier transform over the whole padded sequence and is trained on one target a sequence. Here
every position is a target, so the filter looks back alone: at each position it is the published one of the history that
ends there.
"""

import math

import torch
from torch import nn

from h2rec.batching.sequences import read
from h2rec.models.backbones.protocol import Sizes
from h2rec.models.backbones.registry import BackboneSettings
from h2rec.models.backbones.transformer import TransformerBackbone, WideBlock

FILTER_SHARE = 0.7
"""alpha: share of the filter in the output, beside attention; the paper's best on Beauty."""
FREQUENCIES = 3
"""Low frequencies, the mean among them (the authors' ``c = 5``, of which their code keeps ``c // 2 + 1``)."""


class FrequencyBlock(WideBlock):
    """``alpha * filter + (1 - alpha) * attention`` (equation 9)."""

    response: torch.Tensor
    """What an item counts in the low frequencies of the history, by its distance from the end, `[T]`."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        self.high = nn.Parameter(torch.randn(dim))

    def mix(self, x: torch.Tensor, visible: torch.Tensor | None, at: torch.Tensor | None) -> torch.Tensor:
        steps = torch.arange(x.shape[1], device=x.device)
        distance = steps[:, None] - steps
        low_pass = torch.where(distance >= 0, self.response[distance.clamp(min=0)], 0.0)
        low, own = low_pass.to(x.dtype) @ x, x
        if at is not None:
            low, own = read(low, at), read(x, at)
        filtered = low + self.high.square() * (own - low)
        return FILTER_SHARE * filtered + (1 - FILTER_SHARE) * super().mix(x, visible, at)


class BSARecBackbone(TransformerBackbone):
    """Causal, as SASRec."""

    block = FrequencyBlock

    def __init__(self, sizes: Sizes, settings: BackboneSettings) -> None:
        super().__init__(sizes, settings)
        response = low_pass_response(sizes.max_length)
        for block in self.blocks:
            block.register_buffer("response", response, persistent=False)


def low_pass_response(length: int) -> torch.Tensor:
    """Response `[T]` of a filter over `length` steps that keeps the lowest frequencies."""
    lags = torch.arange(length)
    response = torch.ones(length)
    for frequency in range(1, min(FREQUENCIES, length // 2 + 1)):
        both_signs = 1.0 if 2 * frequency == length else 2.0
        response += both_signs * torch.cos(2 * math.pi * frequency * lags / length)
    return response / length
