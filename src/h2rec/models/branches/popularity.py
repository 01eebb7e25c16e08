"""A branch that scores items by their number of training interactions, the same for every user."""

from typing import Self

import numpy as np
import torch
from pydantic import Field

from h2rec.data.histories import Histories, IntArray
from h2rec.models.branch_items import DenseItems
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.protocol import Intent
from h2rec.models.settings import BranchModelSettings


class PopularitySettings(BranchSettings):
    """Weight of popularity, and the interactions that it counts."""

    window: float | None = Field(
        None, gt=0, le=1, json_schema_extra={"search": {"choices": [None, 0.1, 0.2, 0.4]}}
    )
    """Count only the latest share of every user's training interactions; null counts them all."""


class PopularityBranch(Branch):
    """``log(1 + training interactions)``: a positive weight moves places to the head, a negative one to the tail."""

    settings_class = PopularitySettings
    is_trained = False
    log_count: torch.Tensor

    def __init__(self, settings: BranchSettings, counts: IntArray) -> None:
        super().__init__()
        self.settings = settings
        padded = torch.zeros(len(counts) + 1)  # and a row for the masked item
        padded[:-1] = torch.from_numpy(counts).float()
        self.register_buffer("log_count", torch.log1p(padded))

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        return cls(settings, _counts(settings, features))

    def forward(self, sequences: Sequences, intent: Intent | None) -> BranchRead:
        return BranchRead(self.log_count.new_full((sequences.at.shape[0], 1), self.settings.weight))

    def items(self, items: torch.Tensor) -> DenseItems:
        return DenseItems(self.log_count[items][:, None])

    def grow(self, smaller: Self, new: NewItems) -> None:
        self.log_count.copy_(new.learned_rows(smaller.log_count))

    def recount(self, features: ItemFeatures) -> None:
        self.log_count = type(self)(self.settings, _counts(self.settings, features)).log_count


def _counts(settings: BranchSettings, features: ItemFeatures) -> IntArray:
    if features.train is not None and isinstance(settings, PopularitySettings) and settings.window:
        return latest_counts(features.train, features.item_count, settings.window)
    if features.train_counts is not None:
        return features.train_counts
    return np.zeros(features.item_count + 1, dtype=np.int64)


def latest_counts(train: Histories, item_count: int, window: float) -> IntArray:
    """Count the latest share of every user's training interactions, int64 `[N + 1]`.

    Not every data set has times. The last share of each history, at least one interaction, stands for the latest
    period.
    """
    kept = np.ceil(train.lengths * window).astype(np.int64)
    distance_from_end = np.repeat(train.offsets[1:], train.lengths) - np.arange(len(train.items))
    latest = np.asarray(train.items)[distance_from_end <= np.repeat(kept, train.lengths)]
    return np.bincount(latest, minlength=item_count + 1)
