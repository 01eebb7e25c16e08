import math

import pytest
import torch
from torch.autograd import gradcheck

from h2rec.losses.ranking import bce_loss, bpr_loss, gbce_loss, sampled_softmax_loss, softmax_loss

POSITIVE = torch.tensor([1.0, -0.5], dtype=torch.float64)
NEGATIVE = torch.tensor([[0.0, 2.0], [0.5, -1.0]], dtype=torch.float64)
NO_HIT = torch.zeros(2, 0, dtype=torch.int64)
ONE_HIT = torch.tensor([[0], [1]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def rows(hit):
    for i in range(2):
        yield POSITIVE[i].item(), [NEGATIVE[i, j].item() for j in range(2) if [i, j] not in hit.T.tolist()]


@pytest.mark.parametrize("hit", [NO_HIT, ONE_HIT])
def test_bpr_is_the_papers_pairwise_loss(hit):
    expected = sum(
        sum(-math.log(sigmoid(plus - minus)) for minus in minuses) / len(minuses)
        for plus, minuses in rows(hit)
    )
    assert bpr_loss(POSITIVE, NEGATIVE, hit).item() == pytest.approx(expected / 2)


@pytest.mark.parametrize("hit", [NO_HIT, ONE_HIT])
def test_bce(hit):
    expected = sum(
        -math.log(sigmoid(plus)) + sum(-math.log(1 - sigmoid(minus)) for minus in minuses) / len(minuses)
        for plus, minuses in rows(hit)
    )
    assert bce_loss(POSITIVE, NEGATIVE, hit).item() == pytest.approx(expected / 2)


@pytest.mark.parametrize("hit", [NO_HIT, ONE_HIT])
def test_sampled_softmax_with_log_q(hit):
    log_count = 0.3
    expected = 0.0
    for i in range(2):
        plus = math.exp(POSITIVE[i])
        minus = sum(math.exp(NEGATIVE[i, j] - log_count) for j in range(2) if [i, j] not in hit.T.tolist())
        expected -= math.log(plus / (plus + minus))
    assert sampled_softmax_loss(POSITIVE, NEGATIVE, hit, log_count).item() == pytest.approx(expected / 2)


def test_log_q_makes_the_sampled_loss_estimate_the_full_one():
    torch.manual_seed(0)
    scores = torch.randn(1, 2000, dtype=torch.float64)
    target = torch.tensor([1])
    full = softmax_loss(scores, target).item()
    negatives = torch.randint(0, 2000, (50_000,))
    log_count = math.log(50_000 / 2000)
    hit = (negatives == 0)[None].nonzero().T
    sampled = sampled_softmax_loss(scores[:, 0], scores[:, negatives], hit, log_count).item()
    assert sampled == pytest.approx(full, abs=0.02)


def test_softmax_by_hand():
    scores = torch.tensor([[1.0, 2.0, 0.0]])
    expected = -2.0 + math.log(math.e + math.e**2 + 1)
    assert softmax_loss(scores, torch.tensor([2])).item() == pytest.approx(expected)


def test_gbce_at_t_zero_is_summed_bce_and_at_one_is_calibrated():
    plain = sum(
        -math.log(sigmoid(plus)) + sum(-math.log(1 - sigmoid(minus)) for minus in minuses)
        for plus, minuses in rows(NO_HIT)
    )
    assert gbce_loss(POSITIVE, NEGATIVE, NO_HIT, 101, t=0.0).item() == pytest.approx(plain / 2)
    rate = 2 / 100
    calibrated = sum(
        -rate * math.log(sigmoid(plus)) + sum(-math.log(1 - sigmoid(minus)) for minus in minuses)
        for plus, minuses in rows(NO_HIT)
    )
    assert gbce_loss(POSITIVE, NEGATIVE, NO_HIT, 101, t=1.0).item() == pytest.approx(calibrated / 2)


def test_a_hit_gets_no_gradient():
    negative = NEGATIVE.clone().requires_grad_()
    for loss in (bpr_loss, bce_loss, sampled_softmax_loss):
        (gradient,) = torch.autograd.grad(loss(POSITIVE, negative, ONE_HIT), negative)
        assert gradient[0, 1] == 0
        assert (gradient.flatten()[[0, 2, 3]] != 0).all()


def test_sampled_softmax_agrees_with_autograd_on_a_masked_copy():
    """Value and gradient, with rows of no hit, some hits and nothing but hits, and scores laid out either way."""
    torch.manual_seed(0)
    positive = torch.randn(4, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(4, 6) < 0.3
    mask[0], mask[1] = False, True
    for layout in (torch.randn(4, 6, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64).T):
        negative = (layout * 20).detach().requires_grad_()
        loss = sampled_softmax_loss(positive, negative, mask.nonzero().T, 0.4)
        others = (negative - 0.4).masked_fill(mask, -torch.inf).logsumexp(1)
        expected = torch.nn.functional.softplus(others - positive).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        found = torch.autograd.grad(loss, (positive, negative))
        naive = torch.autograd.grad(expected, (positive, negative))
        torch.testing.assert_close(found[0], naive[0])
        torch.testing.assert_close(found[1], naive[1].nan_to_num())  # autograd's is 0/0 where all are hits


def test_gradients():
    inputs = (POSITIVE.clone().requires_grad_(), NEGATIVE.clone().requires_grad_())
    for loss in (
        lambda p, n: bpr_loss(p, n, ONE_HIT),
        lambda p, n: bce_loss(p, n, ONE_HIT),
        lambda p, n: sampled_softmax_loss(p, n, ONE_HIT),
        lambda p, n: gbce_loss(p, n, ONE_HIT, 50, 0.75),
    ):
        assert gradcheck(loss, inputs)
