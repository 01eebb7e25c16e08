"""A scorer with fixed scores, and random cases with ties, repeated items and targets in the history."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories, IntArray
from h2rec.data.splits import Holdout


@dataclass
class TableScorer:
    """Scores given as a table, one row a case."""

    table: torch.Tensor

    @property
    def item_count(self) -> int:
        return self.table.shape[1] - 1

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        return self.table[torch.from_numpy(rows)]


Cases = tuple[TableScorer, Holdout]


@pytest.fixture
def table_scorer() -> type[TableScorer]:
    return TableScorer


@pytest.fixture
def random_cases() -> Callable[..., Cases]:
    def make(cases: int = 60, items: int = 30, seed: int = 0, *, levels: int | None = 8) -> Cases:
        """`levels` distinct scores, so that ties abound; None for scores without ties."""
        rng = np.random.default_rng(seed)
        shape = (cases, items + 1)
        scores = rng.permuted(np.tile(np.arange(items + 1), (cases, 1)), axis=1) / 7
        if levels is not None:
            scores = rng.integers(0, levels, shape) / 4
        lengths = rng.integers(0, 12, cases)
        histories = Histories.from_lists([rng.integers(1, items + 1, n).tolist() for n in lengths])
        targets = rng.integers(1, items + 1, cases).astype(np.int32)
        for case in range(0, cases, 3):  # a target that the user has met before
            if lengths[case]:
                targets[case] = histories[case][0]
        holdout = Holdout(np.arange(cases) * 2, histories, targets)
        return TableScorer(torch.tensor(scores, dtype=torch.float32)), holdout

    return make
