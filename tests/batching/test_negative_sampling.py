import math

import numpy as np
import pytest
import torch

from h2rec.batching.negatives import NegativeSampler, NegativeSettings

COUNTS = np.array([0, 100, 10, 1, 0])


def sampler(**values):
    return NegativeSampler(NegativeSettings(**values), COUNTS)


def test_uniform_negatives_cover_the_catalogue_evenly_and_never_pad():
    drawn, _ = sampler(count=40_000).draw(torch.tensor([1, 2]), np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    assert shares[0] == 0
    assert shares[1:] == pytest.approx([0.25] * 4, abs=0.01)


def test_popular_items_are_drawn_by_their_power():
    drawn, _ = sampler(count=40_000, distribution="popularity").draw(
        torch.tensor([1]), np.random.default_rng(0)
    )
    weights = np.array([100, 10, 1, 1]) ** 0.75
    assert np.bincount(drawn, minlength=5)[1:] / len(drawn) == pytest.approx(
        weights / weights.sum(), abs=0.01
    )


def test_own_negatives_have_a_row_a_target():
    own = sampler(count=3, shared=False, distribution="popularity")
    negatives, log_count = own.draw(torch.tensor([1, 2]), np.random.default_rng(0))
    assert negatives.shape == log_count.shape == (2, 3)


def test_in_batch_negatives_are_the_targets():
    in_batch = sampler(count=10, distribution="in_batch")
    drawn, _ = in_batch.draw(torch.tensor([3, 1, 3]), np.random.default_rng(0))
    assert drawn.tolist() == [1, 3]


@pytest.mark.parametrize("count", [1000, 20])
def test_in_batch_negatives_are_expected_as_often_as_they_are_drawn(count):
    counts = np.concatenate([[0], np.maximum(1000 // np.arange(1, 201), 1)])
    in_batch = NegativeSampler(NegativeSettings(count=count, distribution="in_batch"), counts)
    random = np.random.default_rng(0)
    present = np.zeros(201)
    for _ in range(400):
        targets = torch.from_numpy(random.choice(201, 300, p=counts / counts.sum()))
        drawn, log_count = in_batch.draw(targets, random)
        present[drawn] += 1
    assert log_count.exp().numpy() == pytest.approx(present[drawn] / 400, abs=0.1)


@pytest.mark.parametrize("values", [{"count": 0}, {"distribution": "in_batch", "shared": False}])
def test_negatives_that_can_not_be_drawn_are_refused(values):
    with pytest.raises(ValueError, match=r"count|shared"):
        NegativeSettings(**values)


def test_log_expected_count_by_hand():
    uniform = sampler(count=8)
    _, log_count = uniform.draw(torch.tensor([1]), np.random.default_rng(0))
    assert math.exp(log_count) == pytest.approx(2.0)
    popular = sampler(count=8, distribution="popularity")
    counts = np.maximum(COUNTS[1:], 1) ** 0.75
    drawn, expected = popular.draw(torch.tensor([1]), np.random.default_rng(0))
    assert expected.exp().tolist() == pytest.approx((8 * counts / counts.sum())[drawn - 1].tolist())


def test_same_random_stream_same_negatives():
    draws = [
        sampler(count=50).draw(torch.tensor([1]), np.random.default_rng(7))[0].tolist() for _ in range(2)
    ]
    assert draws[0] == draws[1]
