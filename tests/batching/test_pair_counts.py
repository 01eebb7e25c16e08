"""Counts of pairs: by hand, kept up to date to the bit, and refused where they are not those of the catalogue."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2rec.batching import pair_counts
from h2rec.batching.pair_counts import PairCounts
from h2rec.data.histories import Histories
from h2rec.errors import DataError

ROWS = st.lists(st.lists(st.integers(1, 6), max_size=7), min_size=1, max_size=6)


def as_dict(counts):
    return {
        (int(one), int(other)): times.tolist()
        for one, other, times in zip(counts.earlier, counts.later, counts.times, strict=True)
    }


def counted(rows):
    return PairCounts.of(Histories.from_lists(rows))


def test_by_hand():
    assert as_dict(counted([[1, 2, 3, 1], [1, 2], [], [2, 2]])) == {
        (1, 1): [0, 0, 1],
        (1, 2): [2, 0, 0],
        (1, 3): [0, 1, 0],
        (2, 1): [0, 1, 0],
        (2, 2): [1, 0, 0],
        (2, 3): [1, 0, 0],
        (3, 1): [1, 0, 0],
    }
    assert counted([[1, 2], [1, 3, 2]]).weights.tolist() == pytest.approx([1 + 0.6, 1, 1])


@given(ROWS, ROWS, ROWS)
def test_kept_up_to_date_they_are_what_counting_all_at_once_gives(kept, before, after):
    updated = counted([*kept, *before]).replaced(counted(before), counted(after))
    afresh = counted([*kept, *after])
    for part in ("earlier", "later", "times"):
        assert np.array_equal(getattr(updated, part), getattr(afresh, part))


@given(st.lists(st.lists(st.integers(1, 6), max_size=7), max_size=12), st.integers(1, 9))
def test_counted_by_parts_of_the_users_they_are_the_same(rows, at_once):
    whole = counted(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_counts, "EVENTS_AT_ONCE", at_once)
        parts = counted(rows)
    for name in ("earlier", "later", "times"):
        one, other = getattr(whole, name), getattr(parts, name)
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_they_are_read_as_they_were_written(tmp_path):
    counts = counted([[1, 2, 3, 1], [4, 2]])
    counts.save(tmp_path / "pairs.parquet")
    assert as_dict(PairCounts.load(tmp_path / "pairs.parquet", 4)) == as_dict(counts)
    with pytest.raises(DataError, match="no counts of 3 items"):
        PairCounts.load(tmp_path / "pairs.parquet", 3)


@pytest.mark.parametrize("change", [{"later": 0}, {"lag_1": -1}, {"earlier": 9}])
def test_damaged_ones_are_refused(tmp_path, change):
    path = tmp_path / "pairs.parquet"
    counted([[1, 2, 3]]).save(path)
    pl.read_parquet(path).with_columns(
        **{name: pl.lit(value) for name, value in change.items()}
    ).write_parquet(path)
    with pytest.raises(DataError, match="no counts of 3 items"):
        PairCounts.load(path, 3)
