"""Contract tests of ranking losses."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from h2rec.losses import RANKING_LOSSES
from h2rec.losses.protocol import ComparedScores, RankingLoss
from h2rec.losses.settings import LossSettings
from h2rec.testing.catalogue import parsed, require, require_close, require_round_trip, small_catalogue
from h2rec.testing.training import NEGATIVES, check_learning

ITEMS = 5


def check_ranking_loss(values: Mapping[str, Any] | str) -> None:
    """Check a ranking loss; `values` as in `loss.ranking`."""
    plain = {"name": values} if isinstance(values, str) else dict(values)
    kind = RANKING_LOSSES.get(plain["name"])
    settings = kind.settings_class.parse(plain, source="loss.ranking")
    require_round_trip(settings)
    loss = kind(settings)
    check_directions(loss)
    check_mean(loss)
    model = parsed({"branches": {"ids": {"kind": "ids"}}})
    for negatives in (NEGATIVES, {**NEGATIVES, "shared": False}):
        loss_settings = LossSettings.parse({"ranking": plain, "negatives": negatives})
        require_round_trip(loss_settings)
        check_learning(model, small_catalogue(), loss_settings)


def compared(loss: RankingLoss, scale: float = 1.0) -> ComparedScores:
    """Scores of three positions against five others, of which one is the target of the first."""
    generator = torch.Generator().manual_seed(0)
    others = (torch.randn(3, ITEMS, generator=generator) * scale).requires_grad_()
    positive = (torch.randn(3, generator=generator) * scale).requires_grad_()
    targets = torch.tensor([2, 4, 1])
    hit = torch.tensor([[0], [1]])
    if loss.whole_catalogue:
        hit = torch.stack([torch.arange(3), targets - 1])
        positive = others[hit[0], hit[1]]
    return ComparedScores(positive, others, targets, hit, 0.0, ITEMS)


def check_directions(loss: RankingLoss) -> None:
    """Higher scores of targets lower the loss, those of negatives raise it; a negative that is the target does not."""
    for scale in (1.0, 80.0):
        scores = compared(loss, scale)
        value = loss(scores)
        require(value.shape == (), f"the loss has the shape {tuple(value.shape)}, and should be a scalar")
        require(bool(value.isfinite()), f"scores as large as {scale:g} make the loss {value.item()}")
    scores = compared(loss)
    inputs = [scores.others] if loss.whole_catalogue else [scores.positive, scores.others]
    *own, others = torch.autograd.grad(loss(scores), inputs)
    at_hits = others[scores.hit[0], scores.hit[1]]
    target_gradient = at_hits if loss.whole_catalogue else own[0]
    require(bool((target_gradient < 0).all()), "a higher score of the target does not lower the loss")
    elsewhere = others.clone()
    elsewhere[scores.hit[0], scores.hit[1]] = 0
    require(bool((elsewhere >= 0).all()), "a higher score of a negative lowers the loss")
    require(bool((elsewhere > 0).any(1).all()), "no negative has a gradient at some position")
    if not loss.whole_catalogue:
        require(not at_hits.any(), "a negative that is the target itself has a gradient")


def check_mean(loss: RankingLoss) -> None:
    """The loss is the mean over the positions."""
    scores = compared(loss)
    each = []
    for place in range(len(scores.targets)):
        hit = scores.hit[:, scores.hit[0] == place].clone()
        hit[0] = 0
        row = slice(place, place + 1)
        positive, others, targets = scores.positive[row], scores.others[row], scores.targets[row]
        each.append(loss(replace(scores, positive=positive, others=others, targets=targets, hit=hit)))
    require_close(loss(scores), torch.stack(each).mean(), "the loss is not the mean over the positions")
