"""Which known items stand in for a new one, and the transitions that it inherits from them."""

import numpy as np
import pytest

from h2rec.batching import transitions as counting
from h2rec.batching.pair_counts import PairCounts
from h2rec.batching.transitions import TransitionTable, transition_table
from h2rec.data.histories import Histories
from h2rec.models import neighbours
from h2rec.models.neighbours import NEIGHBOURS, TEMPERATURE, nearest_in_text, text_directions

RANDOM = np.random.default_rng(0)


def test_the_nearest_are_those_of_a_loop_over_all_pairs(monkeypatch):
    monkeypatch.setattr(neighbours, "_KNOWN_AT_ONCE", 7)
    monkeypatch.setattr(neighbours, "_NEW_AT_ONCE", 3)
    known, new = (RANDOM.normal(size=(rows, 6)).astype(np.float32) for rows in (40, 8))
    known[::9] = 0  # no text
    found = nearest_in_text(known, new)
    assert found.items.shape == (8, NEIGHBOURS)
    assert found.trained == 40
    for vector, items, shares in zip(new, found.items, found.shares, strict=True):
        cosines = {
            row: float(vector @ other / np.linalg.norm(vector) / np.linalg.norm(other))
            for row, other in enumerate(known)
            if other.any()
        }
        expected = sorted(cosines, key=lambda row: -cosines[row])[:NEIGHBOURS]
        assert items.tolist() == expected
        strengths = np.exp([cosines[row] / TEMPERATURE for row in expected])
        np.testing.assert_allclose(shares, strengths / strengths.sum(), rtol=1e-4)


def test_of_equals_the_first_are_nearest_wherever_they_are_read(monkeypatch):
    monkeypatch.setattr(neighbours, "_KNOWN_AT_ONCE", 4)
    known = np.tile(np.array([[0, 2], [1, 0]], np.float32), (6, 1))
    found = nearest_in_text(known, np.array([[3, 0]], np.float32))
    assert found.items.tolist() == [[1, 3, 5, 7, 9]]
    np.testing.assert_allclose(found.shares, np.full((1, 5), 0.2))


@pytest.mark.parametrize("read", [slice(0, 2), slice(2, 4)])
def test_an_encoder_that_can_not_read_a_new_text_has_no_say_in_what_is_near(read):
    one, other = np.zeros((2, 5, 4), np.float32)
    one[:, read] = [[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8], [0, 0]]
    other[:, :] = np.where(one.any(axis=0), 0, [1, 0.5, 0.2, 0.1])  # of what the new texts don't have
    known = one + other * np.array([[3], [0], [1], [0], [1]], np.float32)
    new = np.zeros((2, 4), np.float32)
    new[:, read] = [[1, 0], [0, 1]]
    found = nearest_in_text(known, np.concatenate([new, known[:1]]), leading=2)
    alone = nearest_in_text(one + 1e-9 * other, new)
    assert found.items[:2].tolist() == alone.items.tolist() == [[0, 1, 3, 2, 4], [2, 3, 1, 0, 4]]
    np.testing.assert_allclose(found.shares[:2], alone.shares, rtol=1e-4)
    assert found.items[2, 0] == 0


def test_items_without_text_are_nobody_s_neighbours():
    known = np.array([[1, 0], [0, 0], [0.6, 0.8]], np.float32)
    kept = text_directions(np.array([[9, 0], [5, 5], [6, 8]], np.float32), np.array([True, False, True]))
    np.testing.assert_allclose(kept, known, atol=1e-3)
    found = nearest_in_text(kept, np.array([[0, 1], [1, 0]], np.float32))
    assert found.items.tolist() == [[2, 0], [0, 2]]
    table = np.array([[1.0, 0], [5, 5], [3.0, 4]], np.float32)
    shares = 1 / (1 + np.exp(-np.array([[0.8], [0.4]]) / TEMPERATURE))  # of the nearer of two
    means = shares * table[[2, 0]] + (1 - shares) * table[[0, 2]]
    np.testing.assert_allclose(found.mean_of(table), means, atol=2e-3)
    np.testing.assert_allclose(found.mean_of(table[:, 0]), means[:, 0], atol=2e-3)
    none = nearest_in_text(np.zeros((3, 2), np.float16), np.array([[0, 1]], np.float32))
    assert none.items.shape == (1, 0)
    assert not none.mean_of(table).any()
    assert nearest_in_text(kept, np.zeros((0, 2), np.float32)).mean_of(table).shape == (0, 2)


def as_dict(table):
    groups = np.repeat(np.arange(len(table.offsets) - 1), np.diff(table.offsets))
    return dict(
        zip(zip(groups.tolist(), table.successors.tolist(), strict=True), table.values.tolist(), strict=True)
    )


def table_of(cells, size):
    """A table of transitions by hand: ``{(a, b): t}``."""
    pairs = sorted(cells)
    offsets = np.searchsorted([a for a, _ in pairs], np.arange(size + 1))
    return TransitionTable(
        offsets, np.array([b for _, b in pairs]), np.array([cells[pair] for pair in pairs], np.float32)
    )


def test_a_new_item_inherits_what_leads_to_its_neighbours_and_what_follows_them():
    known = {(1, 2): 0.5, (1, 3): 0.1, (2, 2): 0.3, (3, 1): 0.2}
    near, shares = np.array([[2, 3], [1, 3]]), np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    grown = table_of(known, 4).joined(near, shares, 3)
    led = {(1, 4): 0.75 * 0.5 + 0.25 * 0.1, (2, 4): 0.75 * 0.3, (1, 5): 0.5 * 0.1, (3, 5): 0.5 * 0.2}
    follow = {(4, 2): 0.75 * 0.3, (4, 1): 0.25 * 0.2, (5, 2): 0.25, (5, 3): 0.05, (5, 1): 0.1}
    assert as_dict(grown) == pytest.approx(known | led | follow)
    assert len(grown.offsets) == 7
    for start, stop in zip(grown.offsets, grown.offsets[1:], strict=False):
        assert (np.diff(grown.successors[start:stop]) > 0).all()
    assert (grown.successors.dtype, grown.values.dtype) == (np.int64, np.float32)


def made(count=12):
    walks = [RANDOM.permutation(count)[:6] + 1 for _ in range(30)]
    train = Histories.from_lists(walks)
    counted = PairCounts.of(train), train.counts(count)
    return transition_table(*counted, np.arange(count + 1), "forward", popularity_power=0.5)


@pytest.mark.parametrize("most", [500, 4])
def test_what_was_added_before_makes_no_difference_and_no_successor_is_lost(monkeypatch, most):
    table = made()
    monkeypatch.setattr(counting, "MOST_SUCCESSORS", most)
    monkeypatch.setattr(counting, "_NEW_AT_ONCE", 2)
    near = np.stack([RANDOM.permutation(12)[:3] + 1 for _ in range(5)])
    shares = RANDOM.dirichlet(np.ones(3), 5).astype(np.float32)
    once = table.joined(near, shares, 12)
    twice = table.joined(near[:2], shares[:2], 12).joined(near[2:], shares[2:], 12)
    assert as_dict(once) == as_dict(twice)
    assert as_dict(table).items() <= as_dict(once).items()
    new = [pair for pair in as_dict(once) if max(pair) > 12]
    for item in range(13, 18):
        expected = min(most, 12)
        assert 0 < sum(a == item for a, _ in new) <= expected
        assert 0 < sum(b == item for _, b in new) <= expected
    assert not any(a > 12 and b > 12 for a, b in new)


def test_of_what_leads_to_a_new_item_the_strongest_stay(monkeypatch):
    monkeypatch.setattr(counting, "MOST_SUCCESSORS", 1)
    known = {(1, 3): 0.5, (2, 3): 0.6, (3, 1): 0.1, (3, 2): 0.2}
    grown = as_dict(table_of(known, 4).joined(np.array([[3]]), np.ones((1, 1), np.float32), 3))
    assert grown == pytest.approx(known | {(2, 4): 0.6, (4, 2): 0.2})
