"""Item vectors as sums of rows of one table, whatever the rows stand for: hashed prefixes, learned pieces."""

from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from h2rec.models.features import NewItems
from h2rec.models.item_table import ItemTable
from h2rec.models.warm_start import TextStart, start_rows

RowArray = npt.NDArray[np.int64]
"""Rows of a table for each item, `[N, P]`, counted from 1; 0 fills up items with fewer than P."""


class RowSum(ItemTable):
    """The sum of an item's rows.

    The table has `row_count` rows, one in front for padding, and one behind for the masked item. `stored` rows are part
    of the weights: they can't be computed from the codes alone.
    """

    rows: torch.Tensor

    def __init__(self, rows: RowArray, row_count: int, dim: int, *, stored: bool) -> None:
        super().__init__()
        by_item = np.zeros((len(rows) + 2, rows.shape[1]), dtype=np.int64)
        by_item[1:-1] = rows
        by_item[-1, 0] = row_count + 1
        self.register_buffer("rows", torch.from_numpy(by_item), persistent=stored)
        self.vectors = nn.Embedding(row_count + 2, dim, padding_idx=0)
        nn.init.normal_(self.vectors.weight, std=0.02)
        with torch.no_grad():
            self.vectors.weight[0].zero_()

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        rows = self.rows[items]
        summed = F.embedding_bag(
            rows.reshape(-1, rows.shape[-1]),
            self.vectors.weight,
            mode="sum",
            padding_idx=0,
            sparse=self.vectors.sparse,  # switched on by the optimiser for a large table
        )
        return summed.view(*rows.shape[:-1], -1)

    def start(self, text: TextStart) -> None:
        # Items should add up to their text as nearly as they can.
        rows, count = self.rows[1:-1].numpy(), self.vectors.num_embeddings - 2
        described = text.features.described
        start_rows(self.vectors.weight, fitted_rows(text.vectors[described], rows[described], count))

    def grow(self, smaller: Self, new: NewItems) -> None:
        # Old rows keep their vectors. New ones come behind them and add nothing.
        before = smaller.vectors.weight
        with torch.no_grad():
            self.vectors.weight.zero_()
            self.vectors.weight[: len(before) - 1] = before[:-1]
            self.vectors.weight[-1] = before[-1]


def fitted_rows(vectors: npt.NDArray[np.float32], rows: RowArray, row_count: int) -> npt.NDArray[np.float32]:
    """Row vectors whose sums come nearest to given item vectors `[N, d]`, `[R, d]`; zero for a row of no item.

    Least squares with a little shrinkage: rows shared by many items take what these have in common.
    """
    from scipy import sparse  # imported late: a second, and serving never needs it
    from sklearn.linear_model import Ridge

    item, place = np.nonzero(rows)
    used = sparse.csr_matrix(
        (np.ones(len(item)), (item, rows[item, place] - 1)), shape=(len(rows), row_count)
    )
    fit = Ridge(alpha=0.1, fit_intercept=False, solver="lsqr", tol=1e-4).fit(used, vectors)
    return np.ascontiguousarray(fit.coef_.T, dtype=np.float32)
