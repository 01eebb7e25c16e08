"""Sampled negatives: distinct, outside the history, uniform, and the same for every model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.errors import DataError
from h2rec.evaluation.negatives import draw_negatives


def holdout_of(rows: list[list[int]], targets: list[int]) -> Holdout:
    return Holdout(np.arange(len(rows)), Histories.from_lists(rows), np.array(targets, np.int32))


@st.composite
def holdouts(draw):
    items = draw(st.integers(8, 25))
    item = st.integers(1, items)
    rows = draw(st.lists(st.tuples(st.lists(item, max_size=6), item), min_size=1, max_size=6))
    most = min(items - len({*history, target}) for history, target in rows)
    return holdout_of([h for h, _ in rows], [t for _, t in rows]), items, draw(st.integers(1, most))


@given(holdouts(), st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_distinct_and_outside_history_and_target(case, seed):
    holdout, items, count = case
    drawn = draw_negatives(holdout, items, count, seed)
    assert drawn.shape == (len(holdout), count)
    assert drawn.dtype == np.int32
    assert 1 <= drawn.min() <= drawn.max() <= items
    for row, history, target in zip(drawn.tolist(), holdout.histories, holdout.targets, strict=True):
        assert len(set(row)) == count
        assert not set(row) & {*history.tolist(), int(target)}


def test_every_allowed_item_where_all_are_needed():
    drawn = draw_negatives(holdout_of([[2, 5, 2], []], [1, 6]), 6, 3, 0)
    assert sorted(drawn[0]) == [3, 4, 6]
    assert set(drawn[1]) < {1, 2, 3, 4, 5}


def test_every_allowed_pair_is_equally_likely():
    cases = 6000
    drawn = draw_negatives(holdout_of([[2, 4, 4]] * cases, [7] * cases), 9, 2, 0)
    pairs, counts = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    assert len(pairs) == 15  # 2 of {1, 3, 5, 6, 8, 9}
    # Chi-square of 14 degrees of freedom: 36.1 is passed by chance once in a thousand, and the seed is fixed.
    expected = cases / 15
    assert ((counts - expected) ** 2 / expected).sum() < 36.1


def test_seed_and_cases_decide_and_nothing_else():
    holdout = holdout_of([[1, 2], [3], [4, 5]] * 20, [6, 7, 8] * 20)
    first = draw_negatives(holdout, 500, 100, 1)
    assert np.array_equal(first, draw_negatives(holdout, 500, 100, 1))
    assert not np.array_equal(first, draw_negatives(holdout, 500, 100, 2))
    # Validation and test of the same users do not share their luck.
    other = holdout_of([[1, 2], [3], [4, 5]] * 20, [9, 7, 8] * 20)
    assert np.mean(first == draw_negatives(other, 500, 100, 1)) < 0.1


def test_too_few_items_name_the_user():
    with pytest.raises(DataError, match=r"user row 1: only 2 of 5 items .* sampled3 needs 3") as error:
        draw_negatives(holdout_of([[1], [2, 3, 3]], [2, 1]), 5, 3, 0)
    assert "evaluate.protocols" in str(error.value)
