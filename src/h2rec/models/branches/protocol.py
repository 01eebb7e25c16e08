"""The contract of a branch: read histories, describe and score items, start, grow, give reasons."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import nn

from h2rec.models.branch_items import BranchItems
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.protocol import Intent, OwnLoss
from h2rec.models.reasons import Reason
from h2rec.models.settings import BranchModelSettings
from h2rec.models.sparse_scores import CountedScores, CountTable
from h2rec.models.warm_start import TextStart


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences to read."""

    items: torch.Tensor
    """int64 `[B, T]`, padded on the right with 0."""
    lengths: torch.Tensor
    """int64 `[B]`."""
    at: torch.Tensor
    """Flat positions to read, int64 `[n]`."""


@dataclass(frozen=True, eq=False)
class BranchRead:
    """Output of a branch at `n` positions."""

    user: torch.Tensor
    """User vectors `[n, D]`: their inner products with item vectors are the branch's weighted scores."""
    encoded: torch.Tensor | None = None
    """Output of the encoder, `[n, d]`; None for a branch without one."""


class Branch(nn.Module, ABC):
    """One view of the items and the users.

    `build` makes it, with starting weights from torch's generator, drawn in the order of its parts.
    """

    settings_class: ClassVar[type[BranchSettings]] = BranchSettings
    """Settings of `model.branches.NAME` for this kind."""
    reads_codes: ClassVar[bool] = False
    """Whether it knows items by their semantic IDs."""
    reads_text: ClassVar[bool] = False
    """Whether it needs the items' text."""
    reads_vectors: ClassVar[bool] = False
    """Whether it has nothing to say unless a branch beside it learns vectors by a ranking loss."""
    is_trained: ClassVar[bool] = True
    """Whether it has weights to learn; without any it takes no part in training."""
    form: ClassVar[int] = 1
    """Goes up when the same settings come to mean other scores: kept figures of the former form are not taken for
    these."""
    ranked: ClassVar[bool] = True
    """Whether the ranking loss trains it; else `own_losses` do."""
    recent_items: int = 0
    """Latest items of a history that `counted` looks at; 0 for a branch whose scores are all inner products."""
    refuses_new_items: ClassVar[str | None] = None
    """Why new items can't be placed, or None where they can."""

    settings: BranchSettings

    @classmethod
    @abstractmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        """Make the branch.

        Raises `ConfigError` if it needs codes or text that the catalogue does not have.
        """

    @abstractmethod
    def forward(self, sequences: Sequences, intent: Intent | None) -> BranchRead:
        """Read histories; `intent` is None unless a branch of the model fuses codes."""

    @abstractmethod
    def items(self, items: torch.Tensor) -> BranchItems:
        """Items `[M]`, in the form that scores them fastest."""

    def scores(
        self, read: BranchRead, intent: torch.Tensor | None, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of each position's target, `[n]`, and of items that all positions share, `[n, M]`.

        `intent` is alpha at the positions read, `[n, L]`.
        """
        own = (read.user * self.items(targets).vectors()).sum(-1)
        return own, read.user @ self.items(items).vectors().T

    def own_losses(self, name: str) -> Sequence[OwnLoss]:
        """Losses of the branch beside ranking; `name` is that of its states in `UserStates.encoded`."""
        return ()

    def counted(self, recent: torch.Tensor) -> CountedScores | None:
        """Weighted scores of a branch that has no vectors, by the latest items `[n, m]`, the latest first, 0 for none.

        None for any other branch. No score is negative.
        """
        return None

    def path(self, items: Sequence[int], recent: torch.Tensor) -> list[list[float]] | None:
        """Log-probabilities of the steps to items for the latest items `[1, m]`, where a branch decodes items.

        See `SequenceModel.paths`; None for any other branch.
        """
        return None

    def transitions(self) -> CountTable | None:
        """What `counted` looks up, as a table for other systems; None where it is no such table."""
        return None

    def spread(self) -> None:
        """Keep this worker's share of the tables with a row an item, where there are any."""

    def start(self, text: TextStart) -> None:
        """Start its tables from the items' text."""

    def after_training(self, learned: Sequence["Branch"], features: ItemFeatures) -> None:
        """Take what it reads off the vectors of the branches beside it that a ranking loss trained."""

    @abstractmethod
    def grow(self, smaller: Self, new: NewItems) -> None:
        """Take over the weights of the same branch over fewer items, and place the new items behind them."""

    def recount(self, features: ItemFeatures) -> None:
        """Count anew what is counted, not learned: the training histories are no longer what they were."""

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        """Reasons in a history for each of some items, by index; the strongest first."""
        return [[] for _ in items]
