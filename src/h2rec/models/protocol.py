"""The contract of a sequence model: user vectors, item vectors, scores as inner products, start, growth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from torch import nn

from h2rec.batching.sequences import Batch, Objective, read  # noqa: F401  # models of others read with it
from h2rec.errors import ConfigError
from h2rec.models.branch_items import BranchItems, DenseItems
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.reasons import Reason
from h2rec.models.settings import ModelSettings
from h2rec.models.sparse_scores import CountedScores, CountTable
from h2rec.models.warm_start import TextStart

BranchVectors = tuple[torch.Tensor, ...]
"""One tensor a branch, in the order of `SequenceModel.branch_names`."""


@dataclass(frozen=True, eq=False)
class Intent:
    """Weights of the levels for a user's intent; computed once, for all branches."""

    rows: torch.Tensor
    """Rows of the code table at every position, int64 `[B, T, L]`."""
    alpha: torch.Tensor
    """Weights of the levels at every position, `[B, T, L]`."""
    read_alpha: torch.Tensor
    """The same at the positions read, `[n, L]`."""


@dataclass(frozen=True, eq=False)
class UserStates:
    """Output of a model at `n` positions of the sequences."""

    vectors: BranchVectors
    """User vectors, one tensor `[n, D_b]` a branch, scaled so that its inner product with an item's vector is the
    branch's weighted score."""
    encoded: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Output of the branches' encoders before scaling, `[n, d]` by name of the branch."""
    alpha: torch.Tensor | None = None
    """Weights of the levels at every position, `[B, T, L]`; None for a model without fused codes."""
    read_alpha: torch.Tensor | None = None
    """Weights of the levels at the positions read, `[n, L]`; None for a model without fused codes."""
    norms: tuple[torch.Tensor, torch.Tensor] | None = None
    """Mean norm of the hash IDs and of what the cross-attention adds to them (for diagnosis), or None."""


@dataclass(frozen=True, eq=False)
class LossTerm:
    """A loss term beside ranking, of one batch."""

    value: torch.Tensor
    """A scalar."""
    weight: float
    """Its weight in the sum."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Figures for diagnosis, by name; the log has their means over an epoch."""
    adds_up: bool = False
    """Whether the values of several workers add up to the loss of the whole batch. Else each is a mean over the targets
    of its own part, and is weighted by their number."""


class OwnLoss(Protocol):
    """A loss that a model brings beside ranking: alignment, masking, distillation."""

    name: str

    def due(self, step: int) -> bool:
        """Whether a training step computes it; steps count from 0 over all epochs."""

    def __call__(self, batch: Batch, states: UserStates, random: np.random.Generator) -> LossTerm:
        """Compute it for a batch whose targets were read into `states`.

        Of several workers each has a part of the batch (`Batch.whole`, `Batch.rows`). All draw alike: what is drawn
        from `random` must depend on the whole batch alone.
        """


class SequenceModel(nn.Module, ABC):
    """A model for next-item prediction over items 1..N.

    A model needs `build`, `forward` and `item_vectors`; the rest has defaults.
    """

    settings_class: ClassVar[type[ModelSettings]] = ModelSettings
    """Settings of the section `model` for this model."""

    item_count: int
    branch_names: tuple[str, ...]
    branch_weights: tuple[float, ...]
    """Weight of each branch's score in the sum; the user vectors already contain it."""
    objective: Objective
    max_length: int
    mask_item: int | None = None
    """Index that stands for a masked item, where the model predicts masked items."""
    mask_share: float = 0.0
    """Share of items masked in training, where the model predicts masked items."""

    @classmethod
    @abstractmethod
    def build(cls, settings: ModelSettings, features: ItemFeatures) -> Self:
        """Make a model with its starting weights drawn from torch's generator.

        Raises `ConfigError` if it needs codes or text that the catalogue does not have.
        """

    @abstractmethod
    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode items `[B, T]` (right padded, lengths `[B]`) and read the `n` positions set in `reads`.

        `reads` is a mask `[B, T]` or flat positions, int64 `[n]`.
        """

    @abstractmethod
    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static vectors of items `[M]`, one tensor `[M, D_b]` a branch."""

    def branch_items(self, items: torch.Tensor) -> tuple[BranchItems, ...]:
        """Items `[M]` of every branch in the form that scores them fastest."""
        return tuple(DenseItems(vectors) for vectors in self.item_vectors(items))

    def score_targets(
        self, states: UserStates, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[BranchVectors, BranchVectors]:
        """Scores of each position's target, `[n]` a branch, and of items that all share, `[n, M]` a branch."""
        own = paired_branch_scores(states.vectors, self.item_vectors(targets))
        return own, branch_scores(states.vectors, self.item_vectors(items))

    @property
    def ranked(self) -> tuple[bool, ...]:
        """Whether the ranking loss trains each branch; else `own_losses` do."""
        return (True,) * len(self.branch_names)

    @property
    def recent_items(self) -> int:
        """Latest items of a history that `counted` looks at; 0 where every score is an inner product."""
        return 0

    def counted(self, recent: torch.Tensor) -> dict[str, CountedScores]:
        """Weighted scores of the branches that have no vectors, by name; see `Branch.counted`."""
        return {}

    def transitions(self) -> dict[str, CountTable]:
        """What `counted` looks up, as tables for other systems, by branch; see `Branch.transitions`."""
        return {}

    def spread(self) -> None:
        """Keep this worker's share of the tables with a row an item; several workers train the model.

        Raises `ConfigError` if the model has none that can be spread.
        """
        raise ConfigError("this model's tables can't be spread over workers", "take a model of branches")

    def start(self, text: TextStart) -> None:
        """Start tables from the items' text, where the model has tables that can."""

    def own_losses(self, features: ItemFeatures) -> Sequence[OwnLoss]:
        """Losses of the model beside ranking; called once, when training begins."""
        return ()

    @property
    def refuses_new_items(self) -> str | None:
        """Why new items can't be placed, or None where they can."""
        return "the model has no way to place new items"

    def grow(self, smaller: Self, new: NewItems) -> None:
        """Take over the weights of a model that knows fewer items, and place the new ones behind them."""
        raise NotImplementedError

    def after_training(self, features: ItemFeatures) -> None:
        """Make what is read off the trained weights, which are loaded now."""

    def recount(self, features: ItemFeatures) -> None:
        """Count anew what is counted, not learned; the catalogue is that of the model."""

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        """Reasons in a history for each of some items, by index; the strongest first."""
        return [[] for _ in items]

    def paths(self, items: Sequence[int], history: Sequence[int]) -> dict[str, list[list[float]]]:
        """Of branches that decode items, log-probabilities of the steps to each of some items, by name of the branch.

        Steps are the codes, coarse to fine, and the item among those that share all codes.
        """
        return {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(chain(self.parameters(), self.buffers())).device


def positions_read(reads: torch.Tensor) -> torch.Tensor:
    """Flat indices of the positions set in `reads` `[B, T]`, int64 `[n]`; flat indices stay as they are.

    With indices the number of positions is a shape, as a traced or exported model needs.
    """
    if reads.dtype == torch.int64:
        return reads
    return reads.flatten().nonzero().squeeze(1)


def branch_scores(users: BranchVectors, items: BranchVectors) -> BranchVectors:
    """Scores of every user against every item, one tensor `[n, M]` a branch."""
    return tuple(user @ item.T for user, item in zip(users, items, strict=True))


def paired_branch_scores(users: BranchVectors, items: BranchVectors) -> BranchVectors:
    """Scores of each user against its own item: `[n, D_b]` with `[n, D_b]` gives `[n]` a branch."""
    return tuple((user * item).sum(-1) for user, item in zip(users, items, strict=True))
