"""Negative items for the sampled ranking losses, and how likely each one was."""

from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from h2rec.data.histories import IntArray
from h2rec.settings import Settings

Distribution = Literal["uniform", "popularity", "in_batch"]


POPULARITY_POWER = 0.75
"""Exponent on the training counts where negatives are drawn by popularity."""


class NegativeSettings(Settings):
    """Which items a sampled loss compares the target with."""

    count: int = Field(512, ge=1)
    """Negatives for each target (or for the whole batch where they are shared)."""
    distribution: Distribution = "uniform"
    """uniform over the catalogue, by training popularity, or the other targets of the batch."""
    shared: bool = True
    """One draw for the whole batch instead of one for each target."""

    @model_validator(mode="after")
    def _shared_within_a_batch(self) -> Self:
        if self.distribution == "in_batch" and not self.shared:
            raise ValueError("distribution in_batch is one draw for the batch: leave 'shared' true")
        return self


class NegativeSampler:
    """Draws negatives from a fixed distribution over items 1..N.

    Parameters
    ----------
    settings
        What to draw.
    train_counts
        Training interactions of each item, `[N + 1]`, padding first.
    """

    def __init__(self, settings: NegativeSettings, train_counts: IntArray) -> None:
        self.settings = settings
        self.item_count = len(train_counts) - 1
        weights = np.ones(self.item_count)
        if settings.distribution == "popularity":
            # Items without a training interaction can be drawn too, as if seen once.
            weights = np.maximum(train_counts[1:], 1).astype(np.float64) ** POPULARITY_POWER
        elif settings.distribution == "in_batch":
            weights = np.maximum(train_counts[1:], 1).astype(np.float64)
        self._probabilities = weights / weights.sum()
        self._cumulative = np.cumsum(self._probabilities)
        log_q = np.full(self.item_count + 1, -np.inf)
        log_q[1:] = np.log(self._probabilities)
        self._log_q = torch.from_numpy(log_q.astype(np.float32))

    def draw(
        self, targets: torch.Tensor, random: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | float]:
        """Draw negatives for targets `[n]`.

        Returns
        -------
        negatives
            int64 `[M]` where shared, else `[n, M]`. A negative may equal a target; losses mask that.
        log_expected_count
            Log of how often a draw like this one holds each negative: float32 of the same shape, or one number if all
            are equal.
        """
        if self.settings.distribution == "in_batch":
            unique = torch.unique(targets).cpu().numpy()
            chosen = (
                unique
                if len(unique) <= self.settings.count
                else random.choice(unique, self.settings.count, False)
            )
            chosen = np.sort(chosen)
            # Each at most once: it was a target of one of the n, and then among those that were kept.
            present = -np.expm1(len(targets) * np.log1p(-self._probabilities[chosen - 1]))
            log_count = np.log(present * (len(chosen) / len(unique)))
            return torch.from_numpy(chosen), torch.from_numpy(log_count.astype(np.float32))
        shape: tuple[int, ...] = (self.settings.count,)
        if not self.settings.shared:
            shape = (len(targets), self.settings.count)
        log_size = float(np.log(self.settings.count))
        if self.settings.distribution == "uniform":
            uniform = torch.from_numpy(random.integers(1, self.item_count + 1, shape))
            return uniform, log_size - float(np.log(self.item_count))
        drawn = np.searchsorted(self._cumulative, random.random(shape), side="right")
        negatives = torch.from_numpy(np.minimum(drawn, self.item_count - 1) + 1)
        return negatives, self._log_q[negatives] + log_size
