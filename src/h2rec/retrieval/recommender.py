"""Recommendations for any history, new users included, from a bundle."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from h2rec.data.histories import Histories
from h2rec.errors import DataError
from h2rec.evaluation.topk import top_items
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.bundle import Bundle


@dataclass(frozen=True)
class RecommendedItem:
    """One recommended item.

    Parameters
    ----------
    item_id
        The item's own id.
    score
        The model's score; higher is better, comparable within one answer only.
    head
        Whether it is one of the popular items.
    fields
        Its text fields, such as a title.
    """

    item_id: str
    score: float
    head: bool
    fields: dict[str, str | None]


@dataclass(frozen=True)
class Recommendation:
    """An answer for one history.

    Parameters
    ----------
    items
        Best first.
    unknown
        History entries that the catalogue does not have; they were skipped.
    from_popularity
        Whether the history was empty (or wholly unknown), so that the most popular items are given.
    """

    items: list[RecommendedItem]
    unknown: list[str]
    from_popularity: bool


class Recommender:
    """Answers from a bundle.

    Examples
    --------
    >>> recommender = Recommender.load("runs/demo/bundle")  # doctest: +SKIP
    >>> recommender.recommend(["i12", "i7"], k=3)  # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.item_ids: list[str] = bundle.items["item_id"].to_list()
        self._index = {item_id: row + 1 for row, item_id in enumerate(self.item_ids)}
        self._head = bundle.items["head"].to_list()

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a bundle.

        Raises
        ------
        BundleError
            If the bundle is missing, damaged or of another format version.
        """
        return cls(Bundle.load(Path(folder)))

    @cached_property
    def _scorer(self) -> CatalogueScorer:
        return CatalogueScorer(self.bundle.model)

    def recommend(self, history: Sequence[str], k: int = 10) -> Recommendation:
        """Recommend `k` items to follow a history of item ids, oldest first; nothing of the history comes again.

        Unknown items are skipped and reported; where nothing known remains, the most popular items are given.

        Raises
        ------
        DataError
            If `k` is below one.
        """
        return self.recommend_batch([history], k)[0]

    def recommend_batch(self, histories: Sequence[Sequence[str]], k: int = 10) -> list[Recommendation]:
        """Recommend for several histories at once; each answer is as `recommend` would give it."""
        if k < 1:
            raise DataError(f"k is {k}, it must be at least 1")
        if not histories:
            return []
        known = [[self._index[item] for item in history if item in self._index] for history in histories]
        rows = Histories.from_lists(known)
        scores = self._scores(rows)
        top, values = top_items(scores, min(k, len(self.item_ids)), exclude=rows)
        answers = []
        for row, history in enumerate(histories):
            ranked = zip(top[row].tolist(), values[row].tolist(), strict=True)
            items = [self._item(item, score) for item, score in ranked if item > 0]
            unknown = [item for item in history if item not in self._index]
            answers.append(Recommendation(items, unknown, not known[row]))
        return answers

    def nearest_ids(self, item_id: str) -> list[str]:
        """Ids of the catalogue that look like a given one, for messages."""
        return difflib.get_close_matches(item_id, self.item_ids, n=3)

    def fields(self, item_id: str) -> dict[str, str | None]:
        """Text fields of a known item."""
        row = self.bundle.items.row(self._index[item_id] - 1, named=True)
        return {name: value for name, value in row.items() if name not in ("item_id", "train_count", "head")}

    def _scores(self, rows: Histories) -> torch.Tensor:
        scores = self._scorer.score(rows, np.arange(len(rows))).cpu()
        empty = torch.from_numpy(rows.lengths == 0)
        if empty.any():
            counts = self.bundle.items["train_count"].to_numpy()
            popularity = torch.from_numpy(np.concatenate([[0], counts]).astype(np.float32))
            scores = torch.where(empty[:, None], popularity, scores)
        return scores

    def _item(self, item: int, score: float) -> RecommendedItem:
        item_id = self.item_ids[item - 1]
        return RecommendedItem(item_id, score, self._head[item - 1], self.fields(item_id))


def as_json(answer: Recommendation) -> dict[str, Any]:
    """Plain values of an answer."""
    return {
        "items": [
            {"item_id": item.item_id, "score": item.score, "head": item.head, "fields": item.fields}
            for item in answer.items
        ],
        "unknown": answer.unknown,
        "from_popularity": answer.from_popularity,
    }
