"""Negative items for the sampled ranking losses, and how likely each one was."""

import math

import numpy as np
import torch
from pydantic import Field

from h2rec.settings import Settings


class NegativeSettings(Settings):
    """Which items a sampled loss compares the target with."""

    count: int = Field(512, ge=1)
    """Negatives for each target, or for the whole batch where they are shared."""
    shared: bool = True
    """One draw for the whole batch instead of one for each target."""


class NegativeSampler:
    """Draws negatives from the items 1..N, all with the same probability."""

    def __init__(self, settings: NegativeSettings, item_count: int) -> None:
        self.settings = settings
        self.item_count = item_count

    @property
    def log_expected_count(self) -> float:
        """Log of how often a draw holds each item."""
        return math.log(self.settings.count) - math.log(self.item_count)

    def draw(self, target_count: int, random: np.random.Generator) -> torch.Tensor:
        """Draw negatives, int64 `[M]` where shared, else `[n, M]`; losses mask those that equal a target."""
        count = self.settings.count
        shape = (count,) if self.settings.shared else (target_count, count)
        return torch.from_numpy(random.integers(1, self.item_count + 1, shape))
