"""Scores as inner products of scaled vectors: plain, or cosines over a temperature."""

import torch
from torch.nn import functional as F

from h2rec.models.settings import ScoreSettings


def user_side(states: torch.Tensor, settings: ScoreSettings, weight: float = 1.0) -> torch.Tensor:
    """Scale user states `[n, d]` so that their product with `item_side` is the branch's score."""
    if settings.kind == "inner":
        return states * weight
    return F.normalize(states, dim=-1) * (weight / settings.temperature)


def item_side(vectors: torch.Tensor, settings: ScoreSettings) -> torch.Tensor:
    """Bring item or code vectors `[.., d]` to the form that scores use: as they are, or of unit length."""
    return vectors if settings.kind == "inner" else F.normalize(vectors, dim=-1)
