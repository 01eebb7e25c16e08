"""What a model may assume of an item that it was not trained on: the learned vectors of like items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from h2rec.semantic_ids.codes import CodeArray

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NearestGroups:
    """For each new item, the known items that share the longest prefix of its codes.

    Parameters
    ----------
    levels
        Length of that prefix, int64 `[M]`; 0 where not even the first code is in use, so that the group is
        the whole catalogue.
    member, weight
        Sparse matrix of the groups: known item `member[row]` counts `weight[row]` for new item `new[row]`.
    """

    levels: npt.NDArray[np.int64]
    new: npt.NDArray[np.int64]
    member: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    def mean_of(self, table: Vectors) -> Vectors:
        """Mean row of each group, `[M, ..]`, of a table with one row a known item, `[N, ..]`."""
        means = np.zeros((len(self.levels), *table.shape[1:]), dtype=np.float64)
        weight = self.weight.reshape(-1, *([1] * (table.ndim - 1)))
        np.add.at(means, self.new, weight * table[self.member])
        return means.astype(np.float32)


def nearest_groups(known: CodeArray, new: CodeArray) -> NearestGroups:
    """Find the nearest code group of new items.

    The group is the finest that the codebooks offer: items with all codes in common if there are any,
    else those that share all but the last level, and so on. Its mean is what the text says of an item's
    identity, and no more: it ranks a new item beside its like, which then decide by their own vectors.

    Parameters
    ----------
    known, new
        Codes `[N, L]` of the catalogue and `[M, L]` of the new items.
    """
    levels = np.full(len(new), -1, dtype=np.int64)
    rows, members, weights = [], [], []
    for length in range(known.shape[1], -1, -1):
        waiting = np.flatnonzero(levels < 0)
        if len(waiting) == 0:
            break
        group_of_known, group_of_new = _prefix_groups(known[:, :length], new[waiting, :length])
        order = np.argsort(group_of_known, kind="stable")
        starts = np.searchsorted(group_of_known[order], group_of_new, side="left")
        stops = np.searchsorted(group_of_known[order], group_of_new, side="right")
        for row, start, stop in zip(waiting, starts, stops, strict=True):
            if stop > start:
                levels[row] = length
                rows.append(np.full(stop - start, row))
                members.append(order[start:stop])
                weights.append(np.full(stop - start, 1.0 / (stop - start)))
    empty = np.empty(0, dtype=np.int64)
    return NearestGroups(
        levels,
        np.concatenate(rows) if rows else empty,
        np.concatenate(members) if members else empty,
        np.concatenate(weights) if weights else empty.astype(np.float64),
    )


def _prefix_groups(known: CodeArray, new: CodeArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if known.shape[1] == 0:
        return np.zeros(len(known), np.int64), np.zeros(len(new), np.int64)
    _, group = np.unique(np.concatenate([known, new]), axis=0, return_inverse=True)
    group = group.reshape(-1)
    return group[: len(known)], group[len(known) :]
