"""Which interactions train, validate and test."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories, IntArray
from h2rec.errors import DataError

SplitName = Literal["leave_one_out", "time"]


@dataclass(frozen=True, eq=False)
class Holdout:
    """Cases to rank: a history and the one item that came next."""

    users: IntArray
    """Row of the user in the data set, int64 `[cases]`."""
    histories: Histories
    """What the user did before the target, `[cases]` rows, not cut."""
    targets: IntArray
    """The item to be ranked, int32 `[cases]`."""
    weights: npt.NDArray[np.float64] | None = None
    """What each case weighs, float64 `[cases]`, not negative: its target's value in the column of weights."""
    same_day: npt.NDArray[np.bool_] | None = None
    """Whether the target came on the day (UTC) of the last item before it, bool `[cases]`; None where times tell no
    days."""

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: IntArray) -> "Holdout":
        """Return the given cases, in the given order."""
        weights = None if self.weights is None else self.weights[rows]
        same_day = None if self.same_day is None else self.same_day[rows]
        return Holdout(self.users[rows], self.histories.select(rows), self.targets[rows], weights, same_day)


@dataclass(frozen=True, eq=False)
class Split:
    """Training sequences and the two sets of held-out cases."""

    train: Histories
    """One sequence a user, `[U]` rows; empty where a user has no training interaction."""
    valid: Holdout
    test: Holdout
    """Cases for selection and for the final figures. A test history includes the validation item."""
    item_count: int
    """Number of items, N."""

    @property
    def train_counts(self) -> IntArray:
        """Training interactions of each item, int64 `[N + 1]`, padding first."""
        return self.train.counts(self.item_count)


def split(dataset: Dataset, how: SplitName = "leave_one_out", *, test_share: float = 0.1) -> Split:
    """Split a data set.

    Parameters
    ----------
    how
        ``leave_one_out``: each user's last item is the test target, the one before it the validation
        target. A user with fewer than three interactions trains and is not evaluated.
        ``time``: two global cuts in time; a user's first interaction after a cut, if it was seen before
        that cut too, is a case. Nothing after the validation cut trains, so no user's future leaks.
    test_share
        Share of interactions after each cut (``time`` only).

    Raises
    ------
    DataError
        If no user can be evaluated.
    """
    result = _leave_one_out(dataset) if how == "leave_one_out" else _by_time(dataset, test_share)
    if len(result.test) == 0 or len(result.valid) == 0:
        raise DataError(
            "no user has enough interactions to be evaluated",
            "leave-one-out needs users with three or more; check the columns and the k-core setting",
        )
    return result


def cases_at(histories: Histories, places: IntArray) -> Holdout:
    """Cases of some events, by their flat positions in histories: each to be found from what its user did before."""
    users = np.searchsorted(histories.offsets, places, side="right") - 1
    starts = histories.offsets[:-1][users]
    return Holdout(users, histories.slices(starts, places - starts), np.asarray(histories.items)[places])


def _leave_one_out(dataset: Dataset) -> Split:
    histories = dataset.histories
    evaluated = np.flatnonzero(histories.lengths >= 3)
    held = np.zeros(len(histories), dtype=np.int64)
    held[evaluated] = 2
    train = histories.shortened(held)
    lengths = histories.lengths[evaluated]
    valid = _cases(dataset, evaluated, lengths - 2)
    test = _cases(dataset, evaluated, lengths - 1)
    return Split(train, valid, test, dataset.item_count)


def _by_time(dataset: Dataset, test_share: float) -> Split:
    histories = dataset.histories
    times = dataset.timestamps.to_numpy()
    valid_cut, test_cut = np.quantile(times, [1 - 2 * test_share, 1 - test_share])
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    before_valid = np.bincount(rows[times <= valid_cut], minlength=len(histories))
    before_test = np.bincount(rows[times <= test_cut], minlength=len(histories))
    lengths = histories.lengths
    train = histories.shortened(lengths - before_valid)
    # The first interaction after a cut: what a model trained up to the cut would be asked for.
    valid = _first_after(dataset, before_valid, before_test)
    test = _first_after(dataset, before_test, lengths)
    return Split(train, valid, test, dataset.item_count)


def _first_after(dataset: Dataset, seen: IntArray, until: IntArray) -> Holdout:
    users = np.flatnonzero((seen > 0) & (seen < until))
    return _cases(dataset, users, seen[users])


def _cases(dataset: Dataset, users: IntArray, seen: IntArray) -> Holdout:
    """Return the cases of some users after their first `seen` interactions, one or more of each."""
    places = dataset.histories.offsets[:-1][users] + seen
    kept = dataset.histories.select(users)
    days = dataset.days
    return Holdout(
        users,
        kept.shortened(kept.lengths - seen),
        dataset.histories.items[places],
        None if dataset.weights is None else dataset.weights.to_numpy()[places],
        None if days is None else days[places] == days[places - 1],
    )
