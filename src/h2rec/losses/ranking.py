"""Ranking losses over one target and some negatives a position.

Shapes: `positive` `[n]` scores of the targets; `negative` `[n, M]` scores of the negatives; `hit` int64
`[2, h]`, row and column of the negatives that are the target itself and do not count. Each returns the
mean over the `n` positions.
"""

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def softmax_loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the whole catalogue: scores `[n, N]` of items 1..N, targets `[n]` from 1."""
    return F.cross_entropy(scores, targets - 1)


def sampled_softmax_loss(
    positive: torch.Tensor, negative: torch.Tensor, hit: torch.Tensor, log_expected_count: float = 0.0
) -> torch.Tensor:
    """Cross-entropy over the target and sampled negatives (Bengio and Senecal, 2008; log-Q correction).

    `log_expected_count`: log of how often the draw holds each negative; subtracted from the negatives' scores so that
    their sum estimates that over the catalogue.
    """
    others: torch.Tensor = _LogSumExp.apply(negative, hit)  # type: ignore[no-untyped-call]
    return F.softplus(others - log_expected_count - positive).mean()


class _LogSumExp(Function):
    """``logsumexp`` over each row without the hits, in one pass of exponentials.

    Autograd would keep a masked copy of the scores and compute the exponentials again for the gradient. At 512
    negatives that costs as much as the scores themselves.
    """

    @staticmethod
    def forward(ctx: Any, negative: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
        top = negative.amax(dim=1, keepdim=True)
        shares = (negative - top).exp_()
        shares[hit[0], hit[1]] = 0
        total = shares.sum(dim=1, keepdim=True)
        ctx.save_for_backward(shares, total)
        return (total.log() + top).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        shares, total = ctx.saved_tensors
        # A row of nothing but hits has a total of 0.
        return shares * (gradient[:, None] / total.clamp(min=torch.finfo(total.dtype).tiny)), None


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

    `item_count`: N, for the sampling rate ``M / (N - 1)``.
    `t`: calibration from 0 (BCE summed over the negatives) to 1.
    """
    rate = min(1.0, negative.shape[1] / (item_count - 1))
    power = rate * (t * (1 - 1 / rate) + 1 / rate)
    negatives = (-F.logsigmoid(-negative) * _counted(negative, hit)).sum(1)
    return (-power * F.logsigmoid(positive) + negatives).mean()


def _counted(negative: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
    counted = torch.ones_like(negative)
    counted[hit[0], hit[1]] = 0
    return counted


def _mean_over_negatives(values: torch.Tensor, hit: torch.Tensor) -> torch.Tensor:
    counted = _counted(values, hit)
    return (values * counted).sum(1) / counted.sum(1).clamp(min=1)
