"""What a model must be able to do to be evaluated."""

from typing import Protocol

import torch

from h2rec.data.histories import Histories, IntArray


class Scorer(Protocol):
    """Anything that scores the whole catalogue for a history."""

    @property
    def item_count(self) -> int:
        """Number of items, N."""
        ...

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Score every item for some of the histories.

        Parameters
        ----------
        histories
            All histories at hand, not cut.
        rows
            The rows to score, int64 `[n]`.

        Returns
        -------
        torch.Tensor
            Floating point `[n, N + 1]`, higher is better, on any device. Column 0 (padding) is ignored.
        """
        ...
