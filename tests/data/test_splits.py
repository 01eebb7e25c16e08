"""Splits: what trains is before what is held out, and nothing is in two places."""

import polars as pl
import pytest

from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout, split
from h2rec.errors import DataError


def dataset(rows: list[list[int]], times: list[list[float]] | None = None) -> Dataset:
    histories = Histories.from_lists(rows)
    times = times or [[float(n) for n in range(len(row))] for row in rows]
    item_count = max(max(row, default=0) for row in rows)
    return Dataset(
        user_ids=pl.Series("id", [f"u{n}" for n in range(len(rows))]),
        items=pl.DataFrame({"item_id": [f"i{n + 1}" for n in range(item_count)]}),
        histories=histories,
        timestamps=pl.Series("timestamp", [time for row in times for time in row]),
        report={},
    )


def cases(holdout: Holdout) -> list[tuple[int, list[int], int]]:
    return [
        (int(user), history.tolist(), int(target))
        for user, history, target in zip(holdout.users, holdout.histories, holdout.targets, strict=True)
    ]


def test_leave_one_out():
    made = split(dataset([[1, 2, 3, 4], [5], [2, 1], [3, 3, 1]]))
    assert [row.tolist() for row in made.train] == [[1, 2], [5], [2, 1], [3]]
    assert cases(made.valid) == [(0, [1, 2], 3), (3, [3], 3)]
    assert cases(made.test) == [(0, [1, 2, 3], 4), (3, [3, 3], 1)]
    assert made.train_counts.tolist() == [0, 2, 2, 1, 0, 1]


def test_two_cuts_in_time():
    # Ten interactions at times 0..9; a share of 0.2 cuts after 5 and after 7.
    rows = [[1, 2, 3, 4], [5, 1, 2], [3], [4, 5]]
    times = [[0.0, 3.0, 6.0, 8.0], [1.0, 7.0, 9.0], [2.0], [4.0, 5.0]]
    made = split(dataset(rows, times), "time", test_share=0.2)
    assert [row.tolist() for row in made.train] == [[1, 2], [5], [3], [4, 5]]
    assert cases(made.valid) == [(0, [1, 2], 3), (1, [5], 1)]
    assert cases(made.test) == [(0, [1, 2, 3], 4), (1, [5, 1], 2)]


def test_a_user_seen_only_after_a_cut_is_no_case():
    rows = [[1, 2, 3, 1, 2, 3], [2, 1], [3, 2]]
    times = [[0.0, 1.0, 2.0, 3.0, 7.0, 9.0], [6.0, 8.0], [4.0, 5.0]]
    made = split(dataset(rows, times), "time", test_share=0.2)
    assert [user for user, _, _ in cases(made.valid)] == [0]
    assert cases(made.test) == [(0, [1, 2, 3, 1, 2], 3), (1, [2], 1)]
    assert made.train.lengths.tolist() == [4, 0, 2]


def test_what_happens_at_the_moment_of_a_cut_is_before_it():
    # Eleven interactions at times 0..10: the cuts are exactly at 8 and 9.
    made = split(dataset([list(range(1, 12))], [[float(n) for n in range(11)]]), "time", test_share=0.1)
    assert made.train[0].tolist() == list(range(1, 10))
    assert cases(made.valid) == [(0, list(range(1, 10)), 10)]
    assert cases(made.test) == [(0, list(range(1, 11)), 11)]


@pytest.mark.parametrize("how", ["leave_one_out", "time"])
def test_nobody_to_evaluate(how):
    with pytest.raises(DataError, match="no user has enough interactions"):
        split(dataset([[1], [2], [1]]), how)
