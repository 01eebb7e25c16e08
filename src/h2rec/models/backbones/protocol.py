"""The contract of a backbone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from h2rec.batching.sequences import Objective, read
from h2rec.models.backbones.precision import Mixed
from h2rec.models.backbones.registry import BackboneSettings


@dataclass(frozen=True)
class Sizes:
    """Sizes of a backbone: hidden size d, layers, attention heads, dropout, and positions at most."""

    dim: int
    layers: int
    heads: int
    dropout: float
    max_length: int


class Backbone(Mixed, ABC):
    """Encodes sequences of item vectors; made from its sizes and its own settings."""

    settings_class: ClassVar[type[BackboneSettings]] = BackboneSettings
    """Settings of `model.backbone` for this backbone."""
    objective: ClassVar[Objective] = "next"
    """What it is trained to predict: every next item, or masked items (cloze)."""
    causal: bool = True
    """Whether an output depends on nothing later than its position."""

    @abstractmethod
    def __init__(self, sizes: Sizes, settings: BackboneSettings) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode `[B, T, d]` padded on the right, `lengths` int64 `[B]`, to `[B, T, d]`.

        Padding changes no output at a real position.
        """

    def read(self, vectors: torch.Tensor, lengths: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """The same at some flat positions `[n]` of `[B, T]` alone, `[n, d]`; a backbone may leave out the others."""
        return read(self(vectors, lengths), at)
