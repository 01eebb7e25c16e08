import math

import numpy as np
import pytest

from h2rec.batching.negatives import NegativeSampler, NegativeSettings


def sampler(**values):
    return NegativeSampler(NegativeSettings(**values), 4)


def test_negatives_cover_the_catalogue_evenly_and_never_pad():
    drawn = sampler(count=40_000).draw(2, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    assert shares[0] == 0
    assert shares[1:] == pytest.approx([0.25] * 4, abs=0.01)


def test_own_negatives_have_a_row_a_target():
    assert sampler(count=3, shared=False).draw(2, np.random.default_rng(0)).shape == (2, 3)


def test_negatives_that_can_not_be_drawn_are_refused():
    with pytest.raises(ValueError, match="count"):
        NegativeSettings(count=0)


def test_log_expected_count_by_hand():
    assert math.exp(sampler(count=8).log_expected_count) == pytest.approx(2.0)


def test_same_random_stream_same_negatives():
    one, other = (sampler(count=50).draw(1, np.random.default_rng(7)) for _ in range(2))
    assert one.tolist() == other.tolist()
