"""Lists as the bundle gives them, from exported files: the best by vector, and what counts lift above them.

Copy it into your service: it needs NumPy and Polars, and nothing of h2rec.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

LATEST, DECAY = 5, 0.7
"""So many latest items of a user count, each so much less than the one after it."""


class Reranker:
    """Reads what `h2rec export --vectors vectors.parquet --transitions transitions.parquet` wrote."""

    def __init__(self, vectors: str | Path, transitions: str | Path) -> None:
        items = pl.read_parquet(vectors)
        self.ids = items["item_id"].to_list()
        self.row = {item: row for row, item in enumerate(self.ids)}
        self.vectors = items["vector"].to_numpy()
        counted = pl.read_parquet(transitions)
        # Whether items of a history may come again, as in the bundle.
        self.repeats = pl.read_parquet_metadata(transitions)["h2rec.repeats"] == "allowed"
        self.branches = [
            (weight, *followers(items, rows, levels))
            for (_, weight, levels), rows in counted.group_by(
                "branch", "weight", "levels", maintain_order=True
            )
        ]

    def nearest(self, user: Any, count: int) -> list[str]:
        """Return the best items by vector, as a store would."""
        return [self.ids[row] for row in np.argsort(-(self.vectors @ user), kind="stable")[:count]]

    def counts(self, history: Sequence[str]) -> Any:
        """What the counts add to every item's score, `[N]`."""
        latest = [self.row[item] for item in history if item in self.row][::-1][:LATEST]
        total = np.zeros(len(self.ids), np.float32)
        for weight, group, table in self.branches:
            sums = np.zeros(group.max() + 1, np.float32)
            for place, item in enumerate(latest):
                successors, values = table.get(group[item], ([], []))
                sums[successors] += DECAY**place * values
            total += weight * np.log1p(sums)[group]
        return total

    def rank(
        self, user: Any, history: Sequence[str], proposed: Sequence[str], k: int, repeats: bool | None = None
    ) -> list[tuple[str, float]]:
        """Return the best `k` items and their scores.

        `user`: the user's vector. `proposed`: the best by vector, from a store; more than `k` and the history's
        length together. `repeats`: whether items of the history may come again; None for what the bundle does.
        """
        counts = self.counts(history)
        repeats = self.repeats if repeats is None else repeats
        seen = [] if repeats else [self.row[item] for item in history if item in self.row]
        rows = np.array([self.row[item] for item in proposed])
        by_vector = self.vectors[rows] @ user
        unseen = np.sort((by_vector + counts[rows])[~np.isin(rows, seen)])
        # What was not proposed scores less by its vector than the last that was: only counts above this gap lift it.
        gap = unseen[-k] - by_vector.min() if len(unseen) >= k else -1.0
        rows = np.setdiff1d(np.union1d(rows, np.flatnonzero(counts > gap)), seen)
        scores = self.vectors[rows] @ user + counts[rows]
        best = np.argsort(-scores, kind="stable")[:k]
        return [(self.ids[row], float(score)) for row, score in zip(rows[best], scores[best], strict=True)]


def followers(items: pl.DataFrame, rows: pl.DataFrame, levels: int) -> tuple[Any, dict[int, tuple[Any, Any]]]:
    """Group of every item, `[N]`, and for each group its successors, as groups, and their values."""
    labels = items["item_id"]
    if levels:  # counted together with all items that share so many leading codes
        labels = items["codes"].str.split("-").list.head(levels).list.join("-")
    number = {label: place for place, label in enumerate(labels.unique(maintain_order=True))}
    table = {
        number[item]: (np.array([number[to] for to in successors]), np.array(values, np.float32))
        for item, successors, values in rows.group_by("item_id").agg("successor", "value").iter_rows()
    }
    return np.array([number[label] for label in labels]), table
