"""Scores as inner products of scaled vectors: plain, or cosines over a temperature."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Score:
    """How a branch scores items for users."""

    temperature: float | None
    """Divides the cosine; None takes the inner product (the paper)."""
    weight: float = 1.0
    """Weight of the branch's score in the sum."""

    def user_side(self, states: torch.Tensor) -> torch.Tensor:
        """Scale user states `[n, d]` so that their product with `item_side` is the branch's weighted score."""
        if self.temperature is None:
            return states * self.weight
        return F.normalize(states, dim=-1) * (self.weight / self.temperature)

    def item_side(self, vectors: torch.Tensor) -> torch.Tensor:
        """Bring item or code vectors `[.., d]` to the form that scores use: as they are, or of unit length."""
        return vectors if self.temperature is None else F.normalize(vectors, dim=-1)
