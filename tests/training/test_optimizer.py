"""Large tables are updated lazily: only the rows that a batch looked up."""

import torch
from torch import nn

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


def test_the_rate_that_is_set_is_that_of_all_weights():
    model, start = Tables(), Tables()
    optimizer = Optimizer(model, 0.1, 10)
    optimizer.set_learning_rate(0.05)
    optimizer.step(model.loss(torch.tensor([3])))
    # Adam's first step is the rate in every entry that has a gradient; the large table is lazy, the small one dense.
    for now, before in ((model.large, start.large), (model.small, start.small)):
        torch.testing.assert_close(
            (now.weight[3] - before.weight[3]).abs(), torch.full((4,), 0.05), rtol=1e-3, atol=0
        )
