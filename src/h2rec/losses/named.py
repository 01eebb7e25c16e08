"""The ranking losses that settings name."""

import torch

from h2rec.losses.protocol import ComparedScores, RankingLoss
from h2rec.losses.ranking import bce_loss, bpr_loss, gbce_loss, sampled_softmax_loss, softmax_loss

CALIBRATION = 0.75
"""t of gBCE, the authors' choice: 0 is BCE, 1 fully calibrated."""


class SampledSoftmax(RankingLoss):
    """`sampled_softmax_loss` with log-Q correction."""

    def __call__(self, scores: ComparedScores) -> torch.Tensor:
        return sampled_softmax_loss(scores.positive, scores.others, scores.hit, scores.log_expected_count)


class Softmax(RankingLoss):
    """`softmax_loss` over the whole catalogue."""

    whole_catalogue = True

    def __call__(self, scores: ComparedScores) -> torch.Tensor:
        return softmax_loss(scores.others, scores.targets)


class BPR(RankingLoss):
    """`bpr_loss`."""

    def __call__(self, scores: ComparedScores) -> torch.Tensor:
        return bpr_loss(scores.positive, scores.others, scores.hit)


class BCE(RankingLoss):
    """`bce_loss`."""

    def __call__(self, scores: ComparedScores) -> torch.Tensor:
        return bce_loss(scores.positive, scores.others, scores.hit)


class GBCE(RankingLoss):
    """`gbce_loss`."""

    def __call__(self, scores: ComparedScores) -> torch.Tensor:
        return gbce_loss(scores.positive, scores.others, scores.hit, scores.item_count, CALIBRATION)
