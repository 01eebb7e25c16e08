"""Scorers for a catalogue of which some items were never trained: by a model, by text, by popularity."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from h2rec.data.histories import Histories, IntArray
from h2rec.models.scorer import CatalogueScorer

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OneBranch:
    """One branch of a model alone, by its place."""

    scorer: CatalogueScorer
    place: int

    @property
    def item_count(self) -> int:
        """Number of items, N."""
        return self.scorer.item_count

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Scores of all items, `[n, N + 1]`."""
        return self.scorer.branch_scores(histories, rows)[self.place]


@dataclass(frozen=True, eq=False)
class TextNeighbours:
    """Cosine of an item's text with the mean text of the history; nothing is trained."""

    vectors: Vectors
    """Text embeddings of all items, `[N, m]`."""

    @property
    def item_count(self) -> int:
        """Number of items, N."""
        return len(self.vectors)

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Scores of all items, `[n, N + 1]`."""
        table = np.concatenate([np.zeros_like(self.vectors[:1]), self.vectors])
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        means = np.stack([table[np.asarray(histories[row])].mean(axis=0) for row in rows])
        return torch.from_numpy(means @ table.T)


@dataclass(frozen=True, eq=False)
class SameForAll:
    """One list for everybody."""

    scores: npt.NDArray[np.float64]
    """`[N]`."""

    @property
    def item_count(self) -> int:
        """Number of items, N."""
        return len(self.scores)

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Scores of all items, `[n, N + 1]`."""
        return torch.from_numpy(np.concatenate([[0.0], self.scores])).expand(len(rows), -1)


def hash_ids(model: nn.Module, branch: str) -> nn.Embedding:
    """The table of a branch of hash IDs, `[N + 2, d]`."""
    table = model.get_submodule(f"branches.{branch}.table.vectors")
    assert isinstance(table, nn.Embedding)
    return table


def with_new_ids(model: nn.Module, branch: str, rows: Vectors) -> None:
    """Give a grown model's last items other hash IDs, `[M, d]`; its table has one row for the masked item behind."""
    with torch.no_grad():
        hash_ids(model, branch).weight[-1 - len(rows) : -1] = torch.from_numpy(rows)
