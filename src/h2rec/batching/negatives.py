"""Negative items for the sampled ranking losses, and how likely each one was."""

from typing import Literal

import numpy as np
import torch

from h2rec.data.histories import IntArray
from h2rec.settings import Settings

Distribution = Literal["uniform", "popularity", "in_batch"]


class NegativeSettings(Settings):
    """Which items a sampled loss compares the target with."""

    count: int = 512
    """Negatives for each target (or for the whole batch where they are shared)."""
    distribution: Distribution = "uniform"
    """uniform over the catalogue, by training popularity, or the other targets of the batch."""
    shared: bool = True
    """One draw for the whole batch instead of one for each target."""
    popularity_power: float = 0.75
    """Exponent on the training counts (popularity only)."""
    log_q: bool = True
    """Correct the scores for how likely each negative was drawn (sampled softmax only)."""


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
            weights = np.maximum(train_counts[1:], 1).astype(np.float64) ** settings.popularity_power
        elif settings.distribution == "in_batch":
            weights = np.maximum(train_counts[1:], 1).astype(np.float64)
        self._probabilities = weights / weights.sum()
        self._cumulative = np.cumsum(self._probabilities)
        log_q = np.full(self.item_count + 1, -np.inf)
        log_q[1:] = np.log(self._probabilities)
        self._log_q = torch.from_numpy(log_q.astype(np.float32))

    def draw(self, targets: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """Draw negatives for targets `[n]`.

        Returns
        -------
        torch.Tensor
            int64 `[M]` where shared, else `[n, M]`. A negative may equal a target; losses mask that.
        """
        if self.settings.distribution == "in_batch":
            unique = torch.unique(targets).cpu().numpy()
            chosen = (
                unique
                if len(unique) <= self.settings.count
                else random.choice(unique, self.settings.count, False)
            )
            return torch.from_numpy(np.sort(chosen))
        shape: tuple[int, ...] = (self.settings.count,)
        if not self.settings.shared:
            shape = (len(targets), self.settings.count)
        if self.settings.distribution == "uniform":
            return torch.from_numpy(random.integers(1, self.item_count + 1, shape))
        drawn = np.searchsorted(self._cumulative, random.random(shape), side="right")
        return torch.from_numpy(np.minimum(drawn, self.item_count - 1) + 1)

    def log_expected_count(self, negatives: torch.Tensor) -> torch.Tensor | float:
        """Log of how often a draw of this size holds each negative: float32 `[..]`, or one number if all are equal."""
        log_size = float(np.log(negatives.shape[-1]))
        if self.settings.distribution == "uniform":
            return log_size - float(np.log(self.item_count))
        return (self._log_q[negatives.cpu()] + log_size).to(negatives.device)
