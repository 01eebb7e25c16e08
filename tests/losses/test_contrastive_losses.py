import math

import pytest
import torch
from torch.autograd import gradcheck

from h2rec.losses.contrastive import info_nce, multi_positive_info_nce
from h2rec.losses.positives import share_levels


def naive(left, right, positives, tau):
    size, total = len(left), 0.0

    def sim(a, b):
        return float(a @ b / (a.norm() * b.norm())) / tau

    for i in range(size):
        chosen = [j for j in range(size) if positives[i, j] or i == j]
        partition = sum(math.exp(sim(left[i], right[j])) for j in range(size))
        total -= sum(math.log(math.exp(sim(left[i], right[j])) / partition) for j in chosen) / len(chosen)
    return total / size


@pytest.fixture
def sides():
    torch.manual_seed(0)
    left, right = torch.randn(2, 6, 5, dtype=torch.float64)
    return left, right, torch.rand(6, 6) < 0.3


def test_matches_a_naive_double_loop(sides):
    left, right, positives = sides
    both = multi_positive_info_nce(left, right, positives, 0.3)
    expected = (naive(left, right, positives, 0.3) + naive(right, left, positives.T, 0.3)) / 2
    assert both.item() == pytest.approx(expected)


def test_without_other_positives_it_is_plain_info_nce(sides):
    left, right, _ = sides
    alone = torch.zeros(6, 6, dtype=torch.bool)
    expected = info_nce(left, right, 0.2)
    both = (info_nce(left, right, 0.2) + info_nce(right, left, 0.2)).item() / 2
    assert multi_positive_info_nce(left, right, alone, 0.2).item() == pytest.approx(both)
    assert expected.item() == pytest.approx(naive(left, right, alone, 0.2))


def test_gradients(sides):
    left, right, positives = sides
    inputs = (left.requires_grad_(), right.requires_grad_())
    assert gradcheck(lambda a, b: multi_positive_info_nce(a, b, positives, 0.5), inputs)
    assert gradcheck(lambda a, b: info_nce(a, b, 0.5), inputs)


def test_sharing_levels_by_prefix_and_by_any():
    codes = torch.tensor([[1, 2, 3], [1, 2, 9], [1, 7, 3], [5, 2, 3]])
    prefix = share_levels(codes, 2)
    assert prefix.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    either = share_levels(codes, 2, "any")
    assert either.int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]


def test_more_levels_than_there_are_share_nothing():
    assert not share_levels(torch.tensor([[1], [1]]), 2).any()
