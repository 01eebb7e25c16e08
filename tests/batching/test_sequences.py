import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2rec.batching.sequences import (
    cloze_batch,
    cut_windows,
    history_batch,
    next_item_batch,
    pack,
)
from h2rec.data.histories import Histories

ROWS = st.lists(st.lists(st.integers(1, 50), max_size=23), min_size=1, max_size=12).filter(
    lambda rows: any(len(row) >= 2 for row in rows)
)
LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=300).map(np.array)


def test_next_item_batch_by_hand():
    windows = cut_windows(Histories.from_lists([[5, 6, 7], [9], [1, 2]]), max_length=10)
    batch = next_item_batch(windows, np.array([0, 1]))
    assert batch.items.tolist() == [[5, 6], [1, 0]]
    assert batch.targets.tolist() == [[6, 7], [2, 0]]
    assert batch.lengths.tolist() == [2, 1]


def test_last_only_keeps_one_target():
    windows = cut_windows(Histories.from_lists([[5, 6, 7]]), max_length=10)
    assert next_item_batch(windows, np.array([0]), last_only=True).targets.tolist() == [[0, 7]]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 9))
def test_every_item_but_the_first_is_a_target_once(rows, max_length):
    histories = Histories.from_lists(rows)
    windows = cut_windows(histories, max_length)
    batch = next_item_batch(windows, np.arange(len(windows)))
    expected = sorted(item for row in rows for item in row[1:])
    assert sorted(batch.targets[batch.targets > 0].tolist()) == expected
    assert windows.target_count == len(expected)
    assert int(batch.lengths.max()) <= max_length


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 9))
def test_no_target_lacks_context_that_was_there(rows, max_length):
    histories = Histories.from_lists(rows)
    windows = cut_windows(histories, max_length)
    for window in range(len(windows)):
        begin = windows.histories.offsets[
            np.searchsorted(histories.offsets, windows.starts[window], "right") - 1
        ]
        context = windows.first_target[window] - windows.starts[window]
        assert context >= min(windows.first_target[window] - begin, max_length - max_length // 2)


def test_prefixes_are_one_window_a_target():
    windows = cut_windows(Histories.from_lists([[1, 2, 3, 4]]), max_length=2, prefixes=True)
    batch = next_item_batch(windows, np.arange(3), last_only=True)
    assert batch.items.tolist() == [[1, 0], [1, 2], [2, 3]]
    assert batch.targets.sum(1).tolist() == [2, 3, 4]


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(50, 400), st.integers(0, 5))
def test_packing_takes_every_sequence_once_within_the_budget(lengths, budget, seed):
    batches = pack(lengths, budget, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(rows) * lengths[rows].max() <= budget for rows in batches)


def test_padding_stays_under_a_tenth():
    lengths = np.random.default_rng(0).geometric(0.15, 20_000).clip(1, 50)
    batches = pack(lengths, 2048, np.random.default_rng(1))
    padded = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert lengths.sum() / padded > 0.9


def test_cloze_masks_only_real_items_and_keeps_something():
    histories = Histories.from_lists([[1, 2, 3, 4, 5], [6, 7], [8, 9, 10]])
    windows = cut_windows(histories, 10)
    random = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        batch = cloze_batch(windows, np.arange(3), 99, 0.3, random)
        masked = batch.items == 99
        assert torch_equal(masked, batch.targets > 0)
        assert masked.any(1).all()
        assert ((batch.items > 0) & ~masked).any(1).all()
        restored = np.where(masked, batch.targets, batch.items)
        assert restored.tolist() == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0], [8, 9, 10, 0, 0]]
        shares.append(float(masked[0].float().mean()))
    assert np.mean(shares) == pytest.approx(0.3, abs=0.06)


def test_history_batch_ends_in_the_mask_where_the_model_has_one():
    histories = Histories.from_lists([[1, 2, 3], [4], []])
    items, lengths = history_batch(histories, np.arange(3), 3, mask_item=99)
    assert items.tolist() == [[2, 3, 99], [4, 99, 0], [99, 0, 0]]
    assert lengths.tolist() == [3, 2, 1]
    items, lengths = history_batch(histories, np.arange(3), 2)
    assert items.tolist() == [[2, 3], [4, 0], [0, 0]]
    assert lengths.tolist() == [2, 1, 1]


def torch_equal(left, right):
    return bool((left == right).all())
