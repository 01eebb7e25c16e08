"""Head, tail and popularity groups, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2rec.data.popularity import head_items, popularity_groups

COUNTS = np.array([0, 5, 9, 5, 0, 7, 5, 1, 0, 2, 3])  # padding, then items 1..10


def test_head_is_the_most_popular_share_and_ties_go_to_the_lower_index():
    assert np.flatnonzero(head_items(COUNTS, 0.2)).tolist() == [2, 5]
    assert np.flatnonzero(head_items(COUNTS, 0.4)).tolist() == [1, 2, 3, 5]
    assert np.flatnonzero(head_items(COUNTS, 0.21)).tolist() == [1, 2, 5]  # rounded up


def test_padding_is_neither_head_nor_in_a_group():
    counts = COUNTS.copy()
    counts[0] = 100
    assert not head_items(counts)[0]
    assert popularity_groups(counts)[0] == -1


def test_shares_that_are_not_exact_in_binary():
    # 0.2 * 15 is 3.0000000000000004 in floating point, and 0.07 * 100 is 7.000000000000001.
    assert head_items(np.arange(16), 0.2).sum() == 3
    assert head_items(np.arange(101), 0.07).sum() == 7


def test_groups_go_from_least_to_most_popular():
    assert popularity_groups(COUNTS, 5).tolist() == [-1, 3, 4, 3, 0, 4, 2, 1, 0, 1, 2]
    assert popularity_groups(COUNTS, 1).tolist() == [-1] + [0] * 10


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=60), groups=st.integers(1, 8))
def test_groups_are_equal_in_size_and_ordered(counts, groups):
    array = np.array([0, *counts])
    made = popularity_groups(array, groups)
    sizes = np.bincount(made[1:], minlength=groups)
    assert sizes.max() - sizes.min() <= 1
    for low in range(groups - 1):
        if sizes[low] and sizes[low + 1]:
            assert array[1:][made[1:] == low].max() <= array[1:][made[1:] == low + 1].min()


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=60))
@pytest.mark.parametrize("groups", [2, 4, 5, 10])
def test_the_top_group_is_the_head(groups, counts):
    array = np.array([0, *counts])
    assert np.array_equal(popularity_groups(array, groups) == groups - 1, head_items(array, 1 / groups))
