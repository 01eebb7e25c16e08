import numpy as np

from h2rec.batching.cooccurrence import cooccurrence, neighbours_within
from h2rec.data.histories import Histories


def pairs(matrix):
    return {(int(a), int(b)) for a, b in zip(*matrix.nonzero(), strict=True)}


def test_window_of_one_by_hand():
    matrix = cooccurrence(Histories.from_lists([[1, 2, 3], [4, 4, 1]]), 5, window=1)
    assert pairs(matrix) == {(1, 2), (2, 1), (2, 3), (3, 2), (4, 1), (1, 4)}


def test_wider_window_reaches_further_but_not_over_users():
    matrix = cooccurrence(Histories.from_lists([[1, 2, 3], [4, 5]]), 5, window=2)
    assert (1, 3) in pairs(matrix)
    assert (3, 4) not in pairs(matrix)


def test_matches_a_naive_loop():
    random = np.random.default_rng(0)
    rows = [random.integers(1, 30, random.integers(0, 12)).tolist() for _ in range(40)]
    expected = {
        (a, b)
        for row in rows
        for i, a in enumerate(row)
        for j, b in enumerate(row)
        if a != b and 0 < abs(i - j) <= 3
    }
    assert pairs(cooccurrence(Histories.from_lists(rows), 30, window=3)) == expected


def test_restriction_to_a_batch():
    matrix = cooccurrence(Histories.from_lists([[1, 2, 3]]), 5, window=1)
    assert neighbours_within(matrix, np.array([3, 2, 5])).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]
