import pytest
import torch

from h2rec.models.backbones.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_the_share_dropped_and_the_mean_kept(p):
    torch.manual_seed(0)
    x = torch.ones(401, 501)  # an odd number of elements: the last draw is used in part
    y = Dropout(p)(x)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert y.mean().item() == pytest.approx(1.0, abs=0.03)
    assert len(y.unique()) == 2


def test_elements_that_share_a_draw_are_dropped_independently():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) > 0).float()
    assert torch.corrcoef(kept.T).fill_diagonal_(0).abs().max() < 0.02


def test_next_to_everything_may_be_dropped():
    assert torch.isfinite(Dropout(0.999999).train()(torch.ones(1000))).all()


def test_the_gradient_goes_where_the_value_went():
    torch.manual_seed(0)
    x = torch.ones(50, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_the_seed_decides_and_evaluation_changes_nothing():
    dropout, x = Dropout(0.5), torch.randn(64)
    torch.manual_seed(3)
    one = dropout(x)
    torch.manual_seed(3)
    assert torch.equal(one, dropout(x))
    assert not torch.equal(one, dropout(x))
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
