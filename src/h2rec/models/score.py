"""Scores as inner products of scaled vectors: plain, or cosines over a temperature."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

ScoreKind = Literal["cosine", "inner"]


@dataclass(frozen=True)
class Score:
    """How a branch's users meet its items.

    Parameters
    ----------
    kind
        ``inner`` product (the paper), or ``cosine`` over a temperature.
    temperature
        Divides the cosine; unused by the inner product.
    weight
        What the branch's score weighs in the sum.
    """

    kind: ScoreKind
    temperature: float
    weight: float = 1.0

    def user_side(self, states: torch.Tensor) -> torch.Tensor:
        """Scale user states `[n, d]` so that their product with `item_side` is the branch's score, weighed."""
        if self.kind == "inner":
            return states * self.weight
        return F.normalize(states, dim=-1) * (self.weight / self.temperature)

    def item_side(self, vectors: torch.Tensor) -> torch.Tensor:
        """Bring item or code vectors `[.., d]` to the form that scores use: as they are, or of unit length."""
        return vectors if self.kind == "inner" else F.normalize(vectors, dim=-1)
