"""Scores of whole catalogues for histories, for ranking and retrieval."""

import numpy as np
import torch

from h2rec.batching.sequences import history_batch
from h2rec.data.histories import Histories, IntArray
from h2rec.models.protocol import BranchVectors, SequenceModel, UserStates
from h2rec.models.sparse_scores import CountedScores


class CatalogueScorer:
    """A model with its items computed once, for scoring many users.

    Puts the model into evaluation mode. Make a new scorer after training it further.
    """

    def __init__(self, model: SequenceModel) -> None:
        self.model = model
        self.item_count = model.item_count
        self.device = model.device
        model.eval()
        with torch.inference_mode():
            items = torch.arange(model.item_count + 1, device=self.device)
            self.branches = model.branch_items(items)

    @property
    def item_matrix(self) -> torch.Tensor:
        """Static item vectors `[N + 1, D]`, all branches side by side."""
        with torch.inference_mode():
            return torch.cat([items.vectors() for items in self.branches], dim=1)

    def user_vectors(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """User vectors `[n, D]` of some histories, all branches side by side."""
        return torch.cat(self._users(histories, rows), dim=1)

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """Scores of all items, `[n, N + 1]`, the padding item's in column 0."""
        first, *others = zip(self.branches, self._users(histories, rows), strict=True)
        with torch.inference_mode():
            total = first[0].scores(first[1])
            # In place: a branch's scores are as large as the sum.
            for items, user in others:
                total += items.scores(user)
            scores = total.T
            for sparse in self.counted(histories, rows).values():
                sparse.add_to(scores)
            return scores

    def branch_scores(self, histories: Histories, rows: IntArray) -> list[torch.Tensor]:
        """Weighted score of every branch, `[n, N + 1]` each."""
        users = self._users(histories, rows)
        with torch.inference_mode():
            scores = [items.scores(user).T for items, user in zip(self.branches, users, strict=True)]
            for name, sparse in self.counted(histories, rows).items():
                sparse.add_to(scores[self.model.branch_names.index(name)])
            return scores

    def counted(self, histories: Histories, rows: IntArray) -> dict[str, CountedScores]:
        """Weighted scores of the branches that have no vectors, by name."""
        return counted(self.model, histories.select(rows)) if self.model.recent_items else {}

    def _users(self, histories: Histories, rows: IntArray) -> BranchVectors:
        items, lengths = history_batch(histories, rows, self.model.max_length, self.model.mask_item)
        items, lengths = items.to(self.device), lengths.to(self.device)
        reads = torch.arange(items.shape[1], device=self.device) == (lengths - 1)[:, None]
        with torch.inference_mode():
            states: UserStates = self.model(items, lengths, reads)
        return states.vectors


def counted(model: SequenceModel, histories: Histories) -> dict[str, CountedScores]:
    """What the branches without vectors score for the latest items of histories, by name."""
    with torch.inference_mode():
        return model.counted(latest_items(histories, model.recent_items).to(model.device))


def latest_items(histories: Histories, count: int) -> torch.Tensor:
    """The latest items of each history, int64 `[n, m]`, the latest first, filled up with 0; `m` is at most `count`."""
    items, lengths = histories.padded(np.arange(len(histories)), count)
    # Padded on the right, the latest item last; they are asked for the other way round.
    places = lengths[:, None] - 1 - np.arange(items.shape[1])
    return torch.from_numpy(
        np.where(places >= 0, np.take_along_axis(items, np.maximum(places, 0), axis=1), 0)
    )
