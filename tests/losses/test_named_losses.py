"""Every ranking loss that settings name: under the contract of a plug-in, and as its function says."""

import pytest
import torch

from h2rec.losses import RANKING_LOSSES
from h2rec.losses.protocol import ComparedScores
from h2rec.losses.ranking import bce_loss, bpr_loss, gbce_loss, sampled_softmax_loss, softmax_loss
from h2rec.losses.settings import LossSettings
from h2rec.testing import check_ranking_loss

BY_FUNCTION = {
    "sampled_softmax": lambda s: sampled_softmax_loss(s.positive, s.others, s.hit, s.log_expected_count),
    "softmax": lambda s: softmax_loss(s.others, s.targets),
    "bpr": lambda s: bpr_loss(s.positive, s.others, s.hit),
    "bce": lambda s: bce_loss(s.positive, s.others, s.hit),
    "gbce": lambda s: gbce_loss(s.positive, s.others, s.hit, s.item_count, 0.75),
}


@pytest.mark.parametrize("name", RANKING_LOSSES.names())
def test_every_ranking_loss(name):
    check_ranking_loss(name)


@pytest.mark.parametrize("name", RANKING_LOSSES.names())
def test_a_named_loss_is_its_function_of_the_scores(name):
    torch.manual_seed(0)
    targets = torch.tensor([2, 4])
    hit = torch.tensor([[0], [1]])
    scores = ComparedScores(torch.randn(2), torch.randn(2, 5), targets, hit, 0.4, 60)
    settings = LossSettings.parse({"ranking": name}).ranking
    loss = RANKING_LOSSES.get(name)(settings)
    assert loss(scores) == BY_FUNCTION[name](scores)
    assert loss.whole_catalogue == (name == "softmax")
