"""Splits: what trains is before what is held out, and nothing is in two places."""

from dataclasses import replace

import numpy as np
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


DAY, START = 86_400.0, 16_000 * 86_400.0


@pytest.mark.parametrize(
    ("how", "valid", "test"),
    [
        # The second of two days at a time; item 10 * n + k weighs that.
        ("leave_one_out", ([12, 32], [True, False]), ([13, 33], [False, True])),
        # Eleven interactions: cuts after the ninth and tenth in time.
        ("time", ([33], [True]), ([13], [False])),
    ],
)
def test_cases_carry_the_weights_and_days_of_their_targets(how, valid, test):
    days = [[0.0, 0.2, 0.9, 9.0], [1.0], [0.1, 0.5, 8.0, 8.6], [3.0, 4.0]]
    data = dataset(
        [[1, 2, 3, 4], [5], [4, 1, 2, 3], [1, 2]], [[START + DAY * day for day in row] for row in days]
    )
    weights = [10.0 * user + place for user, row in enumerate(days, 1) for place in range(len(row))]
    made = split(replace(data, weights=pl.Series(weights)), how, test_share=0.1)
    for holdout, (weighs, same) in ((made.valid, valid), (made.test, test)):
        assert holdout.weights is not None
        assert holdout.same_day is not None
        assert (holdout.weights.tolist(), holdout.same_day.tolist()) == (weighs, same)
        backwards = holdout.select(np.arange(len(holdout))[::-1])
        assert backwards.weights is not None
        assert backwards.same_day is not None
        assert (backwards.weights.tolist(), backwards.same_day.tolist()) == (weighs[::-1], same[::-1])


def test_without_weights_and_clock_times_cases_have_none():
    positions = dataset([[1, 2, 3, 4]], [[0.0, 3 * DAY, 5 * DAY, 9 * DAY]])
    assert split(positions).test.same_day is None
    assert split(positions).test.weights is None
    clock = dataset([[1, 2, 3, 4]], [[START, START + 3 * DAY, START + 5 * DAY, START + 9 * DAY]])
    assert split(clock).test.same_day is not None
    assert split(replace(clock, report={"time_order": "order of the file"})).test.same_day is None
