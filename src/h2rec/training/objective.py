"""The weighted sum of the loss terms of one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch

from h2rec.batching.negatives import NegativeSampler
from h2rec.batching.sequences import Batch
from h2rec.losses import RANKING_LOSSES
from h2rec.losses.protocol import ComparedScores
from h2rec.losses.settings import LossSettings
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import BranchVectors, SequenceModel, UserStates, paired_branch_scores


@dataclass(frozen=True, eq=False)
class Terms:
    """Loss terms by name, and their weights; training minimises `total`."""

    values: dict[str, torch.Tensor]
    weights: dict[str, float]
    """By name of the term."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Figures of the model's own losses, such as the mean size of the alignment's positive sets."""
    margins: BranchVectors | None = None
    """For each branch, its score of the target minus its mean over the negatives, `[n]`."""

    @property
    def total(self) -> torch.Tensor:
        """Weighted sum, a scalar."""
        return torch.stack([self.weights[name] * value for name, value in self.values.items()]).sum()


class TrainingObjective:
    """Computes all loss terms of a batch.

    The model may bring losses of its own. The training histories in `features` are the only source of popularity and
    co-occurrence.
    """

    def __init__(self, settings: LossSettings, model: SequenceModel, features: ItemFeatures) -> None:
        assert features.train is not None
        self.model = model
        self.sampler = NegativeSampler(settings.negatives, features.item_count)
        self.item_count = features.item_count
        self.loss = RANKING_LOSSES.get(settings.ranking.name)(settings.ranking)
        self.own_losses = model.own_losses(features)
        self.ranked = [place for place, ranked in enumerate(model.ranked) if ranked]
        self.joint = 1.0 if len(self.ranked) == 1 else settings.joint

    def __call__(
        self, batch: Batch, random: np.random.Generator, *, step: int = 0, margins: bool = False
    ) -> tuple[Terms, UserStates]:
        """Return loss terms of a batch and the states they were computed from.

        Of several workers each has a part of the batch; their terms add up to those of the whole.

        `step` counts the batches of the whole training: some terms are not computed in each. `margins` asks for the
        branches' margins.
        """
        reads = batch.targets > 0
        states = self.model(batch.items, batch.lengths, reads)
        values: dict[str, torch.Tensor] = {}
        branch_margins = None
        if self.ranked:
            values, branch_margins = self._ranking(batch, states, batch.targets[reads], random, margins)
        weights = dict.fromkeys(values, 1 - self.joint) | {"ranking": self.joint}
        figures: dict[str, float] = {}
        added_up: set[str] = set()
        for loss in self.own_losses:
            if loss.due(step):
                term = loss(batch, states, random)
                values[loss.name], weights[loss.name] = term.value, term.weight
                figures |= term.figures
                added_up |= {loss.name} if term.adds_up else set()
        if batch.part is not None:
            values = {
                name: value if name in added_up else value * batch.share for name, value in values.items()
            }
        return Terms(values, weights, figures, branch_margins), states

    def _ranking(
        self,
        batch: Batch,
        states: UserStates,
        targets: torch.Tensor,
        random: np.random.Generator,
        margins: bool,
    ) -> tuple[dict[str, torch.Tensor], BranchVectors | None]:
        positive, others, hit, log_count = self._compared(batch, states, targets, random)
        values = {}
        sides = zip(self._names(), self._ranked(positive), self._ranked(others), strict=True)
        for name, target_scores, other_scores in sides:
            scores = ComparedScores(target_scores, other_scores, targets, hit, log_count, self.item_count)
            values[name] = self.loss(scores)
        return values, _margins(positive, others) if margins else None

    def _compared(
        self, batch: Batch, states: UserStates, targets: torch.Tensor, random: np.random.Generator
    ) -> tuple[BranchVectors, BranchVectors, torch.Tensor, float]:
        """Scores of the targets and of the items compared, a tensor a branch; hits, and log-Q."""
        model = self.model
        if self.loss.whole_catalogue:
            catalogue = torch.arange(1, self.item_count + 1, device=targets.device)
            hit = torch.stack([torch.arange(len(targets), device=targets.device), targets - 1])
            return *model.score_targets(states, targets, catalogue), hit, 0.0
        part = batch.part
        negatives = self.sampler.draw(len(targets) if part is None else part.target_count, random)
        if part is not None and not self.sampler.shared:
            negatives = negatives[part.places]
        negatives = negatives.to(targets.device)
        log_count = self.sampler.log_expected_count
        hit = _hits(targets, negatives)
        if negatives.dim() == 1:
            return *model.score_targets(states, targets, negatives), hit, log_count
        positive = paired_branch_scores(states.vectors, model.item_vectors(targets))
        return positive, _scores_of_own_negatives(model, states, negatives), hit, log_count

    def _names(self) -> list[str]:
        names, weights = self.model.branch_names, self.model.branch_weights
        own = [f"ranking_{names[place]}" for place in self.ranked if weights[place] and self.joint < 1]
        return ["ranking", *own] if self.joint else own

    def _ranked(self, scores: BranchVectors) -> list[torch.Tensor]:
        """Scores that have a loss: the branches' sum, and each branch's own, unless its share of the loss is 0."""
        joint = [joint_score([scores[place] for place in self.ranked])] if self.joint else []
        if self.joint == 1:
            return joint
        # Without its weight in the sum, which would act as a temperature.
        weights = self.model.branch_weights
        return joint + [scores[place] / weights[place] for place in self.ranked if weights[place]]


def joint_score(scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Add the branches' scores up, tensors of one shape."""
    return reduce(torch.add, scores)


def _margins(positive: BranchVectors, compared: BranchVectors) -> BranchVectors:
    pairs = zip(positive, compared, strict=True)
    return tuple(own.detach() - others.detach().mean(1) for own, others in pairs)


def _scores_of_own_negatives(
    model: SequenceModel, states: UserStates, negatives: torch.Tensor
) -> BranchVectors:
    """Scores of negatives that each position has for itself, `[n, M]` a branch."""
    flat = model.item_vectors(negatives.flatten())
    pairs = zip(states.vectors, flat, strict=True)
    return tuple(torch.einsum("nd,nmd->nm", user, v.view(*negatives.shape, -1)) for user, v in pairs)


def _hits(targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Rows and columns, int64 `[2, h]`, of the negatives that are the position's own target."""
    if negatives.dim() == 2:
        return (negatives == targets[:, None]).nonzero().T
    # Compare only the few targets that are among the negatives.
    rows = torch.isin(targets, negatives).nonzero().squeeze(1)
    hit = (negatives == targets[rows][:, None]).nonzero().T
    return torch.stack([rows[hit[0]], hit[1]])
