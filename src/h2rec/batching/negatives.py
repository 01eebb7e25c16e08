"""Negative items for the sampled ranking losses, and how likely each one was."""

import math

import numpy as np
import torch
from pydantic import Field

from h2rec.settings import Settings


class NegativeSettings(Settings):
    """Which items a sampled loss compares the target with."""

    count: int = Field(2048, ge=1)
    """Negatives for each target, or for the whole batch where they are shared. A shared draw of as many as there are
    items is the whole catalogue."""
    shared: bool = True
    """One draw for the whole batch instead of one for each target."""


class NegativeSampler:
    """Draws negatives from the items 1..N, all with the same probability; a shared draw holds no item twice."""

    def __init__(self, settings: NegativeSettings, item_count: int) -> None:
        self.shared = settings.shared
        self.count = min(settings.count, item_count) if settings.shared else settings.count
        self.item_count = item_count

    @property
    def log_expected_count(self) -> float:
        """Log of how often a draw holds each item."""
        return math.log(self.count) - math.log(self.item_count)

    def draw(self, target_count: int, random: np.random.Generator) -> torch.Tensor:
        """Draw negatives, int64 `[M]` where shared, else `[n, M]`; losses mask those that equal a target."""
        if not self.shared:
            drawn = random.integers(1, self.item_count + 1, (target_count, self.count))
        elif self.count == self.item_count:
            drawn = np.arange(1, self.item_count + 1)
        else:
            drawn = random.choice(self.item_count, self.count, replace=False, shuffle=False) + 1
        return torch.from_numpy(drawn)
