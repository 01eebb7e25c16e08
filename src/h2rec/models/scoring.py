"""Scores as inner products of scaled vectors: plain, or cosines over a temperature; and how branches add up."""

from collections.abc import Sequence

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


def joint_score(scores: Sequence[torch.Tensor], ceiling: torch.Tensor | None = None) -> torch.Tensor:
    """Add up the branches' scores.

    Parameters
    ----------
    scores
        One tensor `[n, M]` a branch.
    ceiling
        `[n, 1]`: the first branch's score counts up to here; None for a plain sum.
    """
    first = scores[0] if ceiling is None else torch.minimum(scores[0], ceiling)
    total = first
    for score in scores[1:]:
        total = total + score
    return total


def saturation_ceiling(scores: torch.Tensor, rank: int, item_count: int) -> torch.Tensor:
    """Each user's own score at a rank of the catalogue, `[n, 1]`, estimated from a sample of it.

    Parameters
    ----------
    scores
        `[n, M]` scores of the whole catalogue or of a uniform sample of it.
    rank
        Rank among all `item_count` items; among `M` it stands proportionally deeper or higher.
    """
    place = max(1, min(scores.shape[1], round(rank * scores.shape[1] / item_count)))
    return scores.detach().topk(place, dim=1).values[:, -1:]
