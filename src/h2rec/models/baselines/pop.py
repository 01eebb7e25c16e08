"""Most popular items: the same list for everyone, and nothing to train."""

import numpy as np
import torch
from torch import nn

from h2rec.batching.sequences import Objective
from h2rec.data.histories import Histories, IntArray
from h2rec.models.protocol import BranchVectors, UserStates, positions_read
from h2rec.models.settings import ModelSettings


class Pop(nn.Module):
    """An item's score is its number of training interactions.

    Parameters
    ----------
    counts
        `[N + 1]`, padding first.
    """

    branches: tuple[str, ...] = ("popularity",)
    objective: Objective = "next"
    mask_item: int | None = None

    def __init__(self, settings: ModelSettings, counts: IntArray) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = len(counts) - 1
        self.max_length = settings.max_length
        self.counts = nn.Parameter(torch.from_numpy(counts.astype(np.float32)), requires_grad=False)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Return the same user vector, ``[1]``, for each of the `n` positions read."""
        return UserStates((self.counts.new_ones(positions_read(reads).shape[0], 1),))

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Popularity of items, `[M, 1]`."""
        return (self.counts[items][:, None],)


def latest_counts(train: Histories, item_count: int, window: float | None) -> IntArray:
    """Count the latest share of every user's training interactions, int64 `[N + 1]`.

    The order within each history is all that every data set has; a share of each history, at least one
    interaction, stands for the latest period.
    """
    if window is None:
        return train.counts(item_count)
    kept = np.ceil(train.lengths * window).astype(np.int64)
    distance_from_end = np.repeat(train.offsets[1:], train.lengths) - np.arange(len(train.items))
    latest = np.asarray(train.items)[distance_from_end <= np.repeat(kept, train.lengths)]
    return np.bincount(latest, minlength=item_count + 1)
