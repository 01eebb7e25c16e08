"""InfoNCE with one or several positives, on cosine similarities."""

import torch
from torch.nn import functional as F


def multi_positive_info_nce(
    left: torch.Tensor, right: torch.Tensor, positives: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Mean of ``-(1/B) sum_i (1/|P(i)|) sum_{j in P(i)} log softmax_j(sim(l_i, r_j) / tau)`` and its other direction.

    Code-guided alignment, item level.

    `left` and `right`: the two sides, `[B, d]` each; row `i` of both is the same thing.
    `positives`: boolean `[B, B]`, ``positives[i, j]`` true for `j` in `P(i)`; the diagonal counts whether set or not.
    """
    similarity = F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T / temperature
    weights = positives | torch.eye(len(left), dtype=torch.bool, device=left.device)
    return (_one_direction(similarity, weights) + _one_direction(similarity.T, weights.T)) / 2


def info_nce(left: torch.Tensor, right: torch.Tensor, temperature: float, *, first: int = 0) -> torch.Tensor:
    """InfoNCE with the other rows of the batch as negatives, left to right (masked sequence granularity).

    `left` `[b, d]` may be a part of the batch, from row `first` on, of `right` `[B, d]`; the values of all parts add up
    to the mean over the batch.
    """
    similarity = F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T / temperature
    own = torch.arange(first, first + len(left), device=left.device)
    return F.cross_entropy(similarity, own, reduction="sum") / len(right)


def _one_direction(similarity: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
    log_share = similarity.log_softmax(dim=1)
    share = positives / positives.sum(1, keepdim=True)
    return -(log_share * share).sum(1).mean()
