import math

import numpy as np
import pytest
import torch

from h2rec.batching.negatives import NegativeSampler, NegativeSettings

COUNTS = np.array([0, 100, 10, 1, 0])


def sampler(**values):
    return NegativeSampler(NegativeSettings(**values), COUNTS)


def test_uniform_negatives_cover_the_catalogue_evenly_and_never_pad():
    drawn = sampler(count=40_000).draw(torch.tensor([1, 2]), np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    assert shares[0] == 0
    assert shares[1:] == pytest.approx([0.25] * 4, abs=0.01)


def test_popular_items_are_drawn_by_their_power():
    drawn = sampler(count=40_000, distribution="popularity", popularity_power=0.5).draw(
        torch.tensor([1]), np.random.default_rng(0)
    )
    weights = np.sqrt([100, 10, 1, 1])
    assert np.bincount(drawn, minlength=5)[1:] / len(drawn) == pytest.approx(
        weights / weights.sum(), abs=0.01
    )


def test_own_negatives_have_a_row_a_target():
    assert sampler(count=3, shared=False).draw(torch.tensor([1, 2]), np.random.default_rng(0)).shape == (2, 3)


def test_in_batch_negatives_are_the_targets():
    drawn = sampler(count=10, distribution="in_batch").draw(torch.tensor([3, 1, 3]), np.random.default_rng(0))
    assert drawn.tolist() == [1, 3]


def test_log_expected_count_by_hand():
    uniform = sampler(count=8)
    assert math.exp(uniform.log_expected_count(torch.arange(1, 5).repeat(2))) == pytest.approx(2.0)
    popular = sampler(count=8, distribution="popularity", popularity_power=1.0)
    counts = np.maximum(COUNTS[1:], 1)
    expected = popular.log_expected_count(torch.arange(1, 5).repeat(2))
    assert expected.exp().tolist() == pytest.approx((8 * counts / counts.sum()).tolist() * 2)


def test_same_random_stream_same_negatives():
    draws = [sampler(count=50).draw(torch.tensor([1]), np.random.default_rng(7)).tolist() for _ in range(2)]
    assert draws[0] == draws[1]
