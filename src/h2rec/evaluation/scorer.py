"""What a model must be able to do to be evaluated."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
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

        `histories`: all histories at hand, not cut.
        `rows`: the rows to score, int64 `[n]`.

        Returns floating point `[n, N + 1]`, higher is better, on any device. Column 0 (padding) is ignored.
        """
        ...


@dataclass(frozen=True, eq=False)
class Restricted:
    """A scorer whose other items can't be recommended: full ranks are then among the candidates alone."""

    scorer: Scorer
    """Scores the whole catalogue."""
    candidates: npt.NDArray[np.bool_]
    """Which items compete, bool `[N + 1]`, padding first; the targets must be among them."""

    @property
    def item_count(self) -> int:
        """Number of items, N."""
        return self.scorer.item_count

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Score as the scorer does, with minus infinity for all but the candidates."""
        scores = self.scorer.score(histories, rows)
        outside = torch.from_numpy(~self.candidates).to(scores.device)
        return scores.masked_fill(outside, -torch.inf)
