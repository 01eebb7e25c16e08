"""The contract of a model that is evaluated."""

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

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Score every item for the histories in `rows`, int64 `[n]`; they are not cut.

        Returns floating point `[n, N + 1]`, higher is better, on any device. Column 0 (padding) is ignored.
        """


@dataclass(frozen=True, eq=False)
class Restricted:
    """A scorer that recommends candidates alone: full ranks are among these."""

    scorer: Scorer
    """Scores the whole catalogue."""
    candidates: npt.NDArray[np.bool_]
    """Which items compete, bool `[N + 1]`, padding first; the targets must be among them."""

    @property
    def item_count(self) -> int:
        return self.scorer.item_count

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Scores of the scorer, minus infinity for all but the candidates."""
        scores = self.scorer.score(histories, rows)
        outside = torch.from_numpy(~self.candidates).to(scores.device)
        return scores.masked_fill(outside, -torch.inf)
