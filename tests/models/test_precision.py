"""bfloat16 in the backbones, while they train, and float32 everywhere else."""

import pytest
import torch
from model_forms import BACKBONES

from h2rec.models.backbones.precision import set_precision

CPU = torch.device("cpu")
ITEMS, LENGTHS = torch.tensor([[3, 7, 9, 2], [5, 1, 4, 0]]), torch.tensor([4, 3])


def states(model, *, training):
    model.train(training)
    return model(ITEMS, LENGTHS, ITEMS > 0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_training_in_bfloat16_is_close_to_float32_and_not_it(make_model, backbone):
    model = make_model(backbone=backbone, dropout=0.0)
    exact = states(model, training=True)
    assert set_precision(model, "bfloat16", CPU)
    rough = states(model, training=True)
    for one, other in zip(exact.vectors, rough.vectors, strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        torch.testing.assert_close(other, one, rtol=0.05, atol=0.2)
    sum(vectors.sum() for vectors in rough.vectors).backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_evaluation_stays_in_float32(make_model, backbone):
    model = make_model(backbone=backbone)
    exact = states(model, training=False)
    set_precision(model, "bfloat16", CPU)
    for one, other in zip(exact.vectors, states(model, training=False).vectors, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_cpu_trains_in_float32_unless_told(make_model, precision):
    model = make_model(dropout=0.0)
    exact = states(model, training=True)
    assert not set_precision(model, precision, CPU)
    for one, other in zip(exact.vectors, states(model, training=True).vectors, strict=True):
        assert torch.equal(one, other)
