"""Ranking losses over one target and some negatives a position.

Shapes: `positive` `[n]` scores of the targets; `negative` `[n, M]` scores of the negatives; `hit`
`[n, M]` true where a negative is the target itself and does not count. Each returns the mean over the
`n` positions.
"""

import torch
from torch.nn import functional as F


def softmax_loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the whole catalogue: scores `[n, N]` of items 1..N, targets `[n]` from 1."""
    return F.cross_entropy(scores, targets - 1)


def sampled_softmax_loss(
    positive: torch.Tensor,
    negative: torch.Tensor,
    hit: torch.Tensor,
    log_expected_count: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy over the target and sampled negatives (Bengio and Senecal, 2008; log-Q correction).

    Parameters
    ----------
    log_expected_count
        Log of how often the draw holds each negative, broadcast to `[n, M]`; subtracted from the
        negatives' scores so that their sum estimates that over the catalogue. None leaves them alone.
    """
    if log_expected_count is not None:
        negative = negative - log_expected_count
    others = negative.masked_fill(hit, -torch.inf).logsumexp(dim=1)
    return F.softplus(others - positive).mean()


def bpr_loss(positive: torch.Tensor, negative: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
    """Pairwise loss, ``-log sigmoid(y+ - y-)`` (the paper's ranking loss), mean over the negatives."""
    return _mean_over_negatives(-F.logsigmoid(positive[:, None] - negative), hit).mean()


def bce_loss(positive: torch.Tensor, negative: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of the target and the mean over the negatives (SASRec's own loss)."""
    return (-F.logsigmoid(positive) + _mean_over_negatives(-F.logsigmoid(-negative), hit)).mean()


def gbce_loss(
    positive: torch.Tensor, negative: torch.Tensor, hit: torch.Tensor, item_count: int, t: float
) -> torch.Tensor:
    """Generalised BCE, which undoes the overconfidence of negative sampling (gSASRec, arXiv 2308.07192, eq. 9-14).

    Parameters
    ----------
    item_count
        N, for the sampling rate ``M / (N - 1)``.
    t
        Calibration from 0 (BCE summed over the negatives) to 1.
    """
    rate = min(1.0, negative.shape[1] / (item_count - 1))
    power = rate * (t * (1 - 1 / rate) + 1 / rate)
    negatives = (-F.logsigmoid(-negative)).masked_fill(hit, 0).sum(1)
    return (-power * F.logsigmoid(positive) + negatives).mean()


def _mean_over_negatives(values: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
    kept = ~hit
    return (values * kept).sum(1) / kept.sum(1).clamp(min=1)
