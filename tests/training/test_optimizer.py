"""Large tables are updated lazily: only the rows that a batch looked up."""

import numpy as np
import pytest
import torch
from torch import nn

from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.settings import BranchModelSettings
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.optimizer import Optimizer


class Tables(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.large, self.small = nn.Embedding(50, 4), nn.Embedding(5, 4)

    def loss(self, rows):
        return (self.large(rows).sum(-1) * self.small(rows % 5).pow(2).sum(-1)).sum()


def trained(lazy_rows, steps):
    model = Tables()
    optimizer = Optimizer(model, 0.1, lazy_rows)
    for rows in steps:
        optimizer.step(model.loss(torch.tensor(rows)))
    return model


def test_the_first_step_is_that_of_adam_on_the_rows_looked_up_and_none_elsewhere():
    start = Tables()
    lazy, dense = trained(10, [[3, 3, 7]]), trained(None, [[3, 3, 7]])
    torch.testing.assert_close(lazy.large.weight, dense.large.weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lazy.small.weight, dense.small.weight)
    untouched = [row for row in range(50) if row not in {3, 7}]
    assert torch.equal(lazy.large.weight[untouched], start.large.weight[untouched])
    assert not torch.equal(lazy.large.weight[[3, 7]], start.large.weight[[3, 7]])


def test_a_row_that_is_not_looked_up_again_stays_where_it_is():
    once, twice = trained(10, [[3]]), trained(10, [[3], [8]])
    assert torch.equal(once.large.weight[3], twice.large.weight[3])
    dense = trained(None, [[3], [8]])
    assert not torch.equal(dense.large.weight[3], trained(None, [[3]]).large.weight[3])


def test_only_large_tables_are_updated_lazily():
    model = Tables()
    Optimizer(model, 0.1, 10)
    assert (model.large.sparse, model.small.sparse) == (True, False)


@pytest.mark.parametrize("lazy_rows", [None, 10])
def test_a_part_learns_at_a_rate_of_its_own_in_proportion_to_the_schedule(lazy_rows):
    def moved(own_rate, *, rate=None):
        model, start = Tables(), Tables()
        # Both tables' rates: the large one is lazy or dense, the small one dense.
        own = [] if own_rate is None else [(model.large, own_rate)]
        optimizer = Optimizer(model, 0.1, lazy_rows, own)
        if rate is not None:
            optimizer.set_learning_rate(rate)
        optimizer.step(model.loss(torch.tensor([3])))
        # Adam's first step is the rate in every entry that has a gradient.
        return [
            (of_model.weight[3] - of_start.weight[3]).abs().mean().item()
            for of_model, of_start in ((model.large, start.large), (model.small, start.small))
        ]

    assert moved(None) == pytest.approx([0.1, 0.1], rel=1e-3)
    assert moved(0.3) == pytest.approx([0.3, 0.1], rel=1e-3)
    assert moved(0.3, rate=0.05) == pytest.approx([0.15, 0.05], rel=1e-3)


def test_groups_are_the_branches_of_a_model_by_their_rates():
    branches = {
        "codes": {"kind": "codes", "learning_rate": 0.005},
        "prefixes": {"kind": "prefixes", "learning_rate": 0.005},
        "ids": {"kind": "ids"},
    }
    settings = BranchModelSettings.parse({"dim": 8, "branches": branches})
    codes = SemanticIds(np.zeros((5, 2), np.int32), (2, 2))
    model = build_model(settings, ItemFeatures(5, codes), seed=0)
    (dense,) = Optimizer(model, 0.002, None, model.learning_rates()).optimizers
    by_rate = {group["lr"]: {id(p) for p in group["params"]} for group in dense.param_groups}
    of_codes = {id(p) for name in ("codes", "prefixes") for p in model.branches[name].parameters()}
    assert by_rate == {0.005: of_codes, 0.002: {id(p) for p in model.branches["ids"].parameters()}}
