"""Known items with codes like those of a new item, whose learned vectors stand in for it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.codes import CodeArray

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NearestGroups:
    """For each new item, the known items that share the longest prefix of its codes."""

    levels: npt.NDArray[np.int64]
    """Length of that prefix, int64 `[M]`; 0 where not even the first code is in use, so that the group is the whole
    catalogue."""
    group: npt.NDArray[np.int64]
    """Number of each new item's group, int64 `[M]`; items that share that prefix share the group."""
    members: list[npt.NDArray[np.int64]]
    """Rows of the known items of each group."""

    def mean_of(self, table: Vectors) -> Vectors:
        """Mean row of each group, `[M, ..]`, of a table with one row a known item, `[N, ..]`."""
        means = np.zeros((len(self.members), *table.shape[1:]), dtype=np.float32)
        # A group at a time: together they may be many times the table.
        for row, members in enumerate(self.members):
            means[row] = table[members].mean(axis=0, dtype=np.float64)
        return means[self.group]


def nearest_groups(known: CodeArray, new: CodeArray) -> NearestGroups:
    """Find the nearest code group of new items.

    The group is the finest that exists: the items with all codes in common, else those that share all but the last
    level, and so on. Its mean ranks a new item beside similar ones.

    `known` and `new`: codes `[N, L]` of the catalogue and `[M, L]` of the new items.
    """
    levels = np.full(len(new), -1, dtype=np.int64)
    group = np.zeros(len(new), dtype=np.int64)
    members: list[npt.NDArray[np.int64]] = []
    for length in range(known.shape[1], -1, -1):
        waiting = np.flatnonzero(levels < 0)
        if len(waiting) == 0:
            break
        known_group, new_groups = _prefix_groups(known[:, :length], new[waiting, :length])
        order = np.argsort(known_group, kind="stable")
        starts = np.searchsorted(known_group[order], new_groups, side="left")
        stops = np.searchsorted(known_group[order], new_groups, side="right")
        numbers: dict[int, int] = {}
        for row, new_group, start, stop in zip(waiting, new_groups.tolist(), starts, stops, strict=True):
            if stop > start:
                levels[row] = length
                if new_group not in numbers:
                    numbers[new_group] = len(members)
                    members.append(order[start:stop])
                group[row] = numbers[new_group]
    return NearestGroups(levels, group, members)


def _prefix_groups(known: CodeArray, new: CodeArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if known.shape[1] == 0:
        return np.zeros(len(known), np.int64), np.zeros(len(new), np.int64)
    _, group = np.unique(np.concatenate([known, new]), axis=0, return_inverse=True)
    group = group.reshape(-1)
    return group[: len(known)], group[len(known) :]
