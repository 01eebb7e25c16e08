"""Histories: flat arrays that behave as lists of lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2rec.data.histories import Histories, offsets_of
from h2rec.errors import DataError

ROWS = [[3, 1], [], [2, 2, 5], [4]]
lists = st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=8)


def as_lists(histories: Histories) -> list[list[int]]:
    return [row.tolist() for row in histories]


def test_rows_lengths_counts():
    made = Histories.from_lists(ROWS)
    assert as_lists(made) == ROWS
    assert made[2].tolist() == [2, 2, 5]
    assert len(made) == 4
    assert made.lengths.tolist() == [2, 0, 3, 1]
    assert made.counts(6).tolist() == [0, 1, 2, 1, 1, 1, 0]
    assert made.items.dtype == np.int32


def test_padded_keeps_the_last_items_and_pads_on_the_right():
    items, lengths = Histories.from_lists(ROWS).padded(np.array([2, 0, 1]), 2)
    assert items.tolist() == [[2, 5], [3, 1], [0, 0]]
    assert lengths.tolist() == [2, 2, 0]
    items, lengths = Histories.from_lists(ROWS).padded(np.array([1]), 5)
    assert items.tolist() == [[0]]
    items, _ = Histories.from_lists(ROWS).padded(np.array([3, 2]), 50)
    assert items.tolist() == [[4, 0, 0], [2, 2, 5]]


@given(rows=lists, data=st.data())
def test_select_and_shortened_agree_with_lists(rows, data):
    made = Histories.from_lists(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    assert as_lists(made.select(np.array(chosen, dtype=np.int64))) == [rows[row] for row in chosen]
    cut = [data.draw(st.integers(0, len(row))) for row in rows]
    expected = [row[: len(row) - by] for row, by in zip(rows, cut, strict=True)]
    assert as_lists(made.shortened(np.array(cut))) == expected


@given(rows=lists, width=st.integers(1, 7))
def test_padded_agrees_with_lists(rows, width):
    items, lengths = Histories.from_lists(rows).padded(np.arange(len(rows)), width)
    for row, padded, length in zip(rows, items.tolist(), lengths.tolist(), strict=True):
        assert padded[:length] == row[-width:]
        assert not any(padded[length:])


@pytest.mark.parametrize("mapped", [True, False])
def test_saved_and_loaded_again(tmp_path, mapped):
    Histories.from_lists(ROWS).save(tmp_path)
    again = Histories.load(tmp_path, mapped=mapped)
    assert as_lists(again) == ROWS
    assert isinstance(again.items, np.memmap) == mapped


def test_damage_is_noticed(tmp_path):
    with pytest.raises(DataError, match="can't read histories"):
        Histories.load(tmp_path)
    Histories.from_lists(ROWS).save(tmp_path)
    np.save(tmp_path / "items.npy", np.ones(3, np.int32))
    with pytest.raises(DataError, match="do not fit together"):
        Histories.load(tmp_path)
    np.save(tmp_path / "items.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match="can't read histories"):
        Histories.load(tmp_path)


def test_offsets():
    assert offsets_of(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]
    assert offsets_of(np.array([], dtype=np.int64)).tolist() == [0]
