"""Numbers of the prefixes of codes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from h2rec.models.branches.prefixes import prefix_nodes


def codes_of(rows):
    return np.asarray(rows, np.int32)


def test_prefixes_are_numbered_as_items_first_have_them():
    rows, count = prefix_nodes(codes_of([[4, 0, 7], [4, 1, 7], [4, 0, 9], [2, 0, 7]]))
    assert rows.tolist() == [[1, 2], [1, 3], [1, 2], [4, 5]]
    assert count == 5


def test_one_level_makes_a_tree_of_that_level():
    rows, count = prefix_nodes(codes_of([[3], [3], [0]]))
    assert (rows.tolist(), count) == ([[1], [1], [2]], 2)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=2, max_size=30), st.data())
def test_a_catalogue_that_grows_keeps_its_numbers(items, data):
    known = data.draw(st.integers(1, len(items) - 1))
    before, count = prefix_nodes(codes_of(items[:known]))
    after, grown = prefix_nodes(codes_of(items))
    assert np.array_equal(after[:known], before)
    assert grown >= count
    names = {}
    for codes, row in zip(items, after.tolist(), strict=True):
        for length, node in enumerate(row, start=1):
            assert names.setdefault(node, codes[:length]) == codes[:length]
    assert sorted(names) == list(range(1, grown + 1))
    assert len(set(names.values())) == grown
