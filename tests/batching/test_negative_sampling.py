import math

import numpy as np
import pytest

from h2rec.batching.negatives import NegativeSampler, NegativeSettings


def sampler(**values):
    return NegativeSampler(NegativeSettings(**values), 4)


@pytest.mark.parametrize("shared", [True, False])
def test_negatives_cover_the_catalogue_evenly_and_never_pad(shared):
    random, counts = np.random.default_rng(0), np.zeros(5)
    for _ in range(4000):
        drawn = sampler(count=2, shared=shared).draw(3, random)
        counts += np.bincount(drawn.flatten(), minlength=5)
    assert counts[0] == 0
    assert counts[1:] / counts.sum() == pytest.approx([0.25] * 4, abs=0.01)


def test_a_shared_draw_holds_no_item_twice_and_at_most_the_catalogue():
    random = np.random.default_rng(0)
    for count, held in ((1, 1), (3, 3), (4, 4), (50, 4)):
        drawn = sampler(count=count).draw(9, random)
        assert len(set(drawn.tolist())) == len(drawn) == held
    assert sorted(drawn.tolist()) == [1, 2, 3, 4]


def test_own_negatives_have_a_row_a_target():
    assert sampler(count=3, shared=False).draw(2, np.random.default_rng(0)).shape == (2, 3)


def test_negatives_that_can_not_be_drawn_are_refused():
    with pytest.raises(ValueError, match="count"):
        NegativeSettings(count=0)


@pytest.mark.parametrize(
    ("count", "shared", "expected"), [(2, True, 0.5), (8, True, 1.0), (2, False, 0.5), (8, False, 2.0)]
)
def test_log_expected_count_by_hand(count, shared, expected):
    assert math.exp(sampler(count=count, shared=shared).log_expected_count) == pytest.approx(expected)


def test_same_random_stream_same_negatives():
    one, other = (sampler(count=3).draw(1, np.random.default_rng(7)) for _ in range(2))
    assert one.tolist() == other.tolist()
