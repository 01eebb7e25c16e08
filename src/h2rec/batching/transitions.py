"""How often one item follows another in training histories: sparse counts, normalised and pruned."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from h2rec.batching.pair_counts import PairCounts
from h2rec.data.histories import IntArray, offsets_of
from h2rec.errors import DataError

Direction = Literal["forward", "backward", "both"]
"""Which neighbours of an item in a history are counted: what came after it, before it, or either."""

MOST_SUCCESSORS = 500
"""Successors of a group that are kept, the strongest."""
_NEW_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class TransitionTable:
    """The successors of every group, strongest kept.

    Parameters
    ----------
    offsets
        int64 `[G + 1]`; group `a` has the entries ``offsets[a]:offsets[a + 1]``.
    successors
        Groups that follow, int64 `[z]`, ascending within a group.
    values
        ``t(a -> b)``, float32 `[z]`.
    """

    offsets: IntArray
    successors: IntArray
    values: npt.NDArray[np.float32]

    @classmethod
    def empty(cls, size: int) -> Self:
        """A table of `size` groups that nothing follows."""
        none = np.zeros(0, np.int64)
        return cls(np.zeros(size + 1, np.int64), none, none.astype(np.float32))

    def checked(self, size: int) -> Self:
        """The table itself. Raises `DataError` unless it is one of `size` groups: it may come from anywhere."""
        offsets, successors, values = self.offsets, self.successors, self.values
        fits = (
            offsets.shape == (size + 1,)
            and successors.shape == values.shape == (offsets[-1],)
            and offsets.dtype == successors.dtype == np.dtype(np.int64)
            and values.dtype == np.dtype(np.float32)
            and offsets[0] == 0
            and (np.diff(offsets) >= 0).all()
            and ((successors >= 0) & (successors < size)).all()
            and (values >= 0).all()
        )
        if not fits:
            raise DataError(f"stored transitions are not those of {size - 1:,} groups")
        return self

    def with_others_of(self, former: Self) -> Self:
        """The same transitions, and the former ones from and to groups that are in none of these."""
        size = len(self.offsets) - 1
        left = np.repeat(np.arange(size), np.diff(self.offsets))
        former_left = np.repeat(np.arange(len(former.offsets) - 1), np.diff(former.offsets))
        met = np.zeros(size, np.bool_)
        met[left] = met[self.successors] = True
        kept = ~(met[former_left] & met[former.successors])
        if not kept.any():
            return self
        left = np.concatenate([left, former_left[kept]])
        right = np.concatenate([self.successors, former.successors[kept]])
        order = np.lexsort((right, left))
        values = np.concatenate([self.values, former.values[kept]])[order]
        return type(self)(offsets_of(np.bincount(left, minlength=size)), right[order], values)

    def with_themselves(self) -> Self:
        """The same transitions, and of each group to itself: as surely as to what it leads to most."""
        from scipy import sparse  # imported late: serving counts nothing

        size = len(self.offsets) - 1
        own = sparse.csr_matrix((self.values, self.successors, self.offsets), shape=(size, size))
        both = own.maximum(sparse.diags(own.max(axis=1).toarray().ravel(), format="csr"))
        both.sort_indices()
        return type(self)(both.indptr.astype(np.int64), both.indices.astype(np.int64), both.data)

    def joined(
        self, neighbours: IntArray, shares: npt.NDArray[np.float32], trained: int
    ) -> "TransitionTable":
        """The same transitions, and those that `M` new groups inherit from their neighbours.

        What leads to the neighbours of `v` leads to it, ``t(a -> v) = sum_n s_vn t(a -> n)``, and what follows them
        follows it, ``t(v -> b) = sum_n s_vn t(n -> b)``; of either the `MOST_SUCCESSORS` strongest. So many new groups
        follow a known one at most, beside those that do already.

        Parameters
        ----------
        neighbours, shares
            ``n`` and ``s_vn``, `[M, k]`.
        trained
            The last group that training knew. Only up to it groups are `a` or `b`: what a group inherits does not
            depend on other new ones.
        """
        from scipy import sparse  # imported late: serving needs it only here

        size, count = len(self.offsets) - 1, len(neighbours)
        own = sparse.csr_matrix((self.values, self.successors, self.offsets), shape=(size, size))
        met = own[: trained + 1, : trained + 1]
        new = np.repeat(np.arange(count), neighbours.shape[1])
        taken = sparse.csr_matrix((shares.ravel(), (new, neighbours.ravel())), shape=(count, trained + 1))

        def strongest(rows: sparse.csr_matrix) -> sparse.csr_matrix:
            cells = rows.sorted_indices().tocoo()
            kept = _strongest(cells.row, cells.data)
            values = cells.data[kept], (cells.row[kept], cells.col[kept])
            return sparse.csr_matrix(values, shape=rows.shape)

        def inherited(of_known: sparse.csr_matrix) -> sparse.csr_matrix:
            starts = range(0, count, _NEW_AT_ONCE)
            blocks = [strongest(taken[start : start + _NEW_AT_ONCE] @ of_known) for start in starts]
            return sparse.vstack(blocks, format="csr")

        none = sparse.csr_matrix((size - trained - 1, count), dtype=np.float32)
        onto = sparse.vstack([inherited(met.T.tocsr()).T, none])
        added = strongest(sparse.hstack([own[:, trained + 1 :], onto], format="csr"))
        after = inherited(met)
        none = sparse.csr_matrix((count, added.shape[1]), dtype=np.float32)
        grown = sparse.bmat([[own[:, : trained + 1], added], [after, none]], format="csr")
        grown.sort_indices()
        return TransitionTable(grown.indptr.astype(np.int64), grown.indices.astype(np.int64), grown.data)


def transition_table(
    pairs: PairCounts,
    item_counts: IntArray,
    groups: IntArray,
    direction: Direction,
    *,
    popularity_power: float,
) -> TransitionTable:
    """Add up counts of pairs of items by groups, and normalise them.

    ``t(a -> b) = c(a, b) / (n_a * pop_b^e)``: `c` counts how often an item of `b` stood near one of `a` in a history,
    ``n_a`` is its row sum and ``pop_b`` the training interactions of `b`.

    Parameters
    ----------
    pairs, item_counts
        Pairs of items, and interactions of each item, int64 `[N + 1]`, of the training histories; held-out items must
        not be among them.
    groups
        The group of each item, int64 `[N + 1]`, padding first; 0 is the group of no item.
    direction
        ``forward`` counts what came after an item, ``backward`` what came before it, ``both`` either.
    popularity_power
        `e`: 0 leaves popular successors on top, 1 divides by popularity.
    """
    from scipy import sparse  # imported late: serving never counts

    size = int(groups.max(initial=0)) + 1
    earlier, later, weights = groups[pairs.earlier], groups[pairs.later], pairs.weights
    if direction == "both":
        earlier, later = np.concatenate([earlier, later]), np.concatenate([later, earlier])
        weights = np.concatenate([weights, weights])
    left, right = (later, earlier) if direction == "backward" else (earlier, later)
    grouped = (left > 0) & (right > 0)
    # Sorted and added up in time that grows with the pairs alone.
    sums = sparse.coo_matrix((weights[grouped], (left[grouped], right[grouped])), shape=(size, size)).tocsr()
    sums.sum_duplicates()
    left, right = np.repeat(np.arange(size), np.diff(sums.indptr)), sums.indices.astype(np.int64)
    totals = np.asarray(sums.sum(axis=1)).ravel()
    popularity = np.bincount(groups, item_counts, minlength=size)
    values = sums.data / (totals[left] * np.maximum(popularity[right], 1) ** popularity_power)
    kept = _strongest(left, values)
    offsets = offsets_of(np.bincount(left[kept], minlength=size))
    return TransitionTable(offsets, right[kept], values[kept].astype(np.float32))


def _strongest(left: IntArray, values: npt.NDArray[np.floating]) -> IntArray:
    """Places of the `MOST_SUCCESSORS` strongest pairs of each left one; the pairs ascend, and so do the places."""
    of_left = np.bincount(left)
    many = of_left[left] > MOST_SUCCESSORS
    places = np.flatnonzero(many)
    # Stable: equal values stay in the order of the right ones, which ascend.
    order = np.lexsort((-values[places], left[places]))
    ordered = left[places][order]
    first = np.searchsorted(ordered, ordered)
    strong = places[order[np.arange(len(order)) - first < MOST_SUCCESSORS]]
    return np.sort(np.concatenate([np.flatnonzero(~many), strong]))
