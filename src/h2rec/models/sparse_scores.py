"""Scores that only some items have: what counts say of a user's latest items, of single items or of groups of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch

MOST_LISTED = 500
"""Items of groups that are listed for a user, whole groups, the strongest first. Groups of more are never listed: of
these an index looks at what it proposes by vector."""


class CountedScores(Protocol):
    """Weighted scores of one branch for each of `n` users, none negative; most items score 0."""

    def add_to(self, scores: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Add the scores of the items ``first`` to ``first + M - 1`` to a table `[n, M]` in place."""

    def at(self, rows: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Scores of pairs of a user and an item, int64 of shapes that broadcast."""

    def select(self, rows: torch.Tensor) -> Self:
        """Scores of some of the users, int64 `[m]` ascending, who are numbered anew."""

    def most_by_group(self) -> torch.Tensor | float:
        """What an item scores here at most, float32 `[n]`; 0 for single items, which are looked up one by one."""

    def above(
        self, floor: torch.Tensor, others: "Sequence[CountedScores]"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs of a user and an item, int64 `[z]` both, that may exceed the floor `[n]` together with other branches.

        All that do and score more than 0 here are among them, but for those that another branch of single items has.
        """


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Scores of single items.

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

    def add_to(self, scores: torch.Tensor, first: int = 0) -> torch.Tensor:
        rows, items, values = self.rows, self.items - first, self.values
        if first or (len(items) and int(items.max()) >= scores.shape[1]):
            inside = (items >= 0) & (items < scores.shape[1])
            rows, items, values = rows[inside], items[inside], values[inside]
        scores[rows, items] += values
        return scores

    def at(self, rows: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        if not len(self.items) or not items.numel():
            return self.values.new_zeros(torch.broadcast_shapes(rows.shape, items.shape))
        width = int(max(self.items.max(), items.max())) + 1
        keys, asked = self.rows * width + self.items, rows * width + items
        place = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
        return torch.where(keys[place] == asked, self.values[place], 0.0)

    def select(self, rows: torch.Tensor) -> "ItemScores":
        if len(rows) and int(rows[-1] - rows[0]) == len(rows) - 1:  # neighbours lie side by side
            ends = torch.searchsorted(self.rows, torch.stack([rows[0], rows[-1] + 1])).tolist()
            inside = slice(*ends)
            return ItemScores(self.rows[inside] - rows[0], self.items[inside], self.values[inside])
        place = torch.searchsorted(rows, self.rows).clamp(max=max(0, len(rows) - 1))
        kept = rows[place] == self.rows if len(rows) else torch.zeros_like(self.rows, dtype=torch.bool)
        return ItemScores(place[kept], self.items[kept], self.values[kept])

    def most_by_group(self) -> float:
        return 0.0

    def above(
        self, floor: torch.Tensor, others: Sequence[CountedScores]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total = self.values + sum(other.at(self.rows, self.items) for other in others)
        kept = total > floor[self.rows]
        return self.rows[kept], self.items[kept]


@dataclass(frozen=True, eq=False)
class CountTable:
    """What a branch counts, for other systems: it scores ``weight * log(1 + sum_m q^m value(i_m, j))``."""

    groups: torch.Tensor
    """Group of every item, int64 `[N + 1]`, padding first."""
    levels: int | None
    """Leading codes that the items of a group share; None where every item is a group of its own."""
    sources: torch.Tensor
    successors: torch.Tensor
    """Groups, int64 `[z]` both."""
    values: torch.Tensor
    """How surely the one follows the other, float32 `[z]`."""
    weight: float


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of every item, and the items of every group.

    Parameters
    ----------
    of_item
        int64 `[N + 1]`, padding first; 0 is the group of no item.
    members, offsets
        int64 `[N]` and `[G + 1]`: the items of group `g` are ``members[offsets[g]:offsets[g + 1]]``.
    """

    of_item: torch.Tensor
    members: torch.Tensor
    offsets: torch.Tensor


@dataclass(frozen=True, eq=False)
class GroupScores:
    """Scores of groups of items, which all their items have; items are listed only where one asks for them.

    Parameters
    ----------
    values
        float32 `[n, G]`, as they are weighed in the sum.
    groups
        Who belongs to what.
    """

    values: torch.Tensor
    groups: Groups

    def add_to(self, scores: torch.Tensor, first: int = 0) -> torch.Tensor:
        chosen = self.groups.of_item[first : first + scores.shape[1]]
        if scores.stride(0) == 1:  # a turned table: whole columns are read and written in place
            scores.T.add_(self.values.T.contiguous().index_select(0, chosen))
        else:
            scores.add_(self.values.index_select(1, chosen))
        return scores

    def at(self, rows: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return self.values[rows, self.groups.of_item[items]]

    def select(self, rows: torch.Tensor) -> "GroupScores":
        return GroupScores(self.values[rows], self.groups)

    def most_by_group(self) -> torch.Tensor:
        return self.values.amax(dim=1)

    def above(
        self, floor: torch.Tensor, others: Sequence[CountedScores]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        floor = floor - sum(other.most_by_group() for other in others)
        sizes = self.groups.offsets.diff()
        listable = sizes <= MOST_LISTED
        rows, chosen = (listable & (self.values > floor.clamp(min=0)[:, None])).nonzero(as_tuple=True)
        strongest = self.values[rows, chosen].argsort(descending=True)
        strongest = strongest[rows[strongest].argsort(stable=True)]
        rows, chosen = rows[strongest], chosen[strongest]
        so_far = sizes[chosen].cumsum(0)
        first = torch.searchsorted(rows, rows)
        kept = so_far - (so_far - sizes[chosen])[first] <= MOST_LISTED
        rows, chosen = rows[kept], chosen[kept]
        places, entries = ragged(self.groups.offsets, chosen)
        return rows[places], self.groups.members[entries]


def together(branches: Sequence[CountedScores]) -> list[CountedScores]:
    """The same scores, with those of single items added up: one lookup costs less than one a branch."""
    single = [branch for branch in branches if isinstance(branch, ItemScores)]
    if len(single) < 2:
        return list(branches)
    items = torch.cat([branch.items for branch in single])
    rows, values = torch.cat([b.rows for b in single]), torch.cat([b.values for b in single])
    sums = summed(rows, items, values, int(items.max()) + 1 if len(items) else 1)
    return [sums, *(branch for branch in branches if not isinstance(branch, ItemScores))]


def listed_above(branches: Sequence[CountedScores], floor: torch.Tensor) -> torch.Tensor:
    """All items that the branches together may give more than the floor `[n]`, for each user, int64 `[n, c]`.

    An item may be listed twice; lists are filled up with 0.
    """
    pairs = [
        branch.above(floor, [*branches[:place], *branches[place + 1 :]])
        for place, branch in enumerate(branches)
    ]
    rows, order = torch.cat([rows for rows, _ in pairs]).sort(stable=True)
    items = torch.cat([items for _, items in pairs])[order]
    counts = torch.bincount(rows, minlength=len(floor))
    listed = items.new_zeros(len(floor), int(counts.max()) if len(counts) else 0)
    first = counts.cumsum(0) - counts
    listed[rows, torch.arange(len(rows)) - first[rows]] = items
    return listed


# What follows is traced by a server: sizes are asked of shapes, and nothing of values.


def summed(rows: torch.Tensor, items: torch.Tensor, values: torch.Tensor, width: int) -> ItemScores:
    """Add up the values of pairs that occur several times; items are below `width`."""
    keys, place = torch.unique(rows * width + items, return_inverse=True)
    total = values.new_zeros(keys.shape).index_add_(0, place, values)
    of = torch.div(keys, width, rounding_mode="floor")
    return ItemScores(of, keys - of * width, total)


def summed_densely(
    rows: torch.Tensor, groups: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """The same as a table `[n, G]`: where groups are few, nothing has to be sorted."""
    cells = values.new_zeros(shape[0] * shape[1])
    return cells.index_add_(0, rows * shape[1] + groups, values).view(shape)


def ragged(offsets: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries ``offsets[r]:offsets[r + 1]`` of some rows `[m]`, one after the other.

    Returns
    -------
    places, entries
        int64 `[z]`: the place in `rows` that each entry is of, and its index.
    """
    starts = offsets[rows]
    counts = offsets[rows + 1] - starts
    places = torch.repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return places, torch.arange(places.shape[0], device=rows.device) + (starts - before)[places]
