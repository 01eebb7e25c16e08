"""Scores that only some items have: what counts say of a user's latest items."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class SparseScores:
    """Scores of some items for each of `n` users; all other items score 0.

    Parameters
    ----------
    rows
        Users, int64 `[z]`, ascending.
    items
        Items, int64 `[z]`, ascending for each user; a pair occurs once.
    values
        float32 `[z]`, as they are weighed in the sum.
    """

    rows: torch.Tensor
    items: torch.Tensor
    values: torch.Tensor

    def add_to(self, scores: torch.Tensor) -> torch.Tensor:
        """Add the scores to a table `[n, N + 1]` in place."""
        scores[self.rows, self.items] += self.values
        return scores

    def of(self, items: torch.Tensor) -> torch.Tensor:
        """Scores of each user's own items, int64 `[n, c]` gives `[n, c]`."""
        if not len(self.items):
            return self.values.new_zeros(items.shape)
        width = int(max(self.items.max(), items.max())) + 1
        keys = self.rows * width + self.items
        asked = torch.arange(len(items), device=items.device)[:, None] * width + items
        place = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
        return torch.where(keys[place] == asked, self.values[place], 0.0)

    def select(self, rows: torch.Tensor) -> "SparseScores":
        """Scores of some of the users, int64 `[m]` ascending, who are numbered anew."""
        place = torch.searchsorted(rows, self.rows).clamp(max=max(0, len(rows) - 1))
        kept = rows[place] == self.rows if len(rows) else torch.zeros_like(self.rows, dtype=torch.bool)
        return SparseScores(place[kept], self.items[kept], self.values[kept])

    def lists(self, user_count: int) -> torch.Tensor:
        """The items of each user, int64 `[n, c]`, filled up with 0."""
        counts = torch.bincount(self.rows, minlength=user_count)
        width = int(counts.max()) if len(counts) else 0
        listed = self.items.new_zeros(user_count, width)
        first = counts.cumsum(0) - counts
        listed[self.rows, torch.arange(len(self.rows)) - first[self.rows]] = self.items
        return listed


def summed(rows: torch.Tensor, items: torch.Tensor, values: torch.Tensor) -> SparseScores:
    """Add up the values of pairs that occur several times."""
    width = int(items.max()) + 1 if len(items) else 1
    keys, place = torch.unique(rows * width + items, return_inverse=True)
    total = values.new_zeros(len(keys)).index_add_(0, place, values)
    return SparseScores(keys // width, keys % width, total)


def total(scores: Iterable[SparseScores]) -> SparseScores | None:
    """The sum of the scores of several branches; None of none."""
    branches = list(scores)
    if not branches:
        return None
    rows, items, values = zip(*((b.rows, b.items, b.values) for b in branches), strict=True)
    return summed(torch.cat(rows), torch.cat(items), torch.cat(values))


def ragged(offsets: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries ``offsets[r]:offsets[r + 1]`` of some rows `[m]`, one after the other.

    Returns
    -------
    places, entries
        int64 `[z]`: the place in `rows` that each entry is of, and its index.
    """
    starts = offsets[rows]
    counts = offsets[rows + 1] - starts
    places = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
    before = counts.cumsum(0) - counts
    return places, torch.arange(len(places), device=rows.device) - before[places] + starts[places]
