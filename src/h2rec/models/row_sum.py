"""Item vectors as sums of rows of one table, whatever the rows stand for: hashed prefixes, learned pieces."""

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.linear_model import Ridge
from torch import nn
from torch.nn import functional as F

RowArray = npt.NDArray[np.int64]
"""Rows of a table for each item, `[N, P]`, counted from 1; 0 fills up items with fewer than P."""


class RowSum(nn.Module):
    """The sum of an item's rows.

    Parameters
    ----------
    rows
        Rows of every item, `[N, P]`.
    row_count
        Rows that items can have, R; the table has one in front for padding, and one behind for the masked item.
    stored
        Whether the rows are part of the weights, because they can't be made again from the codes alone.
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
        """Vectors of items: `[...]` to `[..., d]`."""
        rows = self.rows[items]
        summed = F.embedding_bag(
            rows.reshape(-1, rows.shape[-1]),
            self.vectors.weight,
            mode="sum",
            padding_idx=0,
            sparse=self.vectors.sparse,  # switched on by the optimiser for a large table
        )
        return summed.view(*rows.shape[:-1], -1)


def fitted_rows(vectors: npt.NDArray[np.float32], rows: RowArray, row_count: int) -> npt.NDArray[np.float32]:
    """Row vectors whose sums come nearest to given item vectors `[N, d]`, `[R, d]`; zero for a row of no item.

    Least squares with a little shrinkage: rows shared by many items take what these have in common.
    """
    item, place = np.nonzero(rows)
    used = sparse.csr_matrix(
        (np.ones(len(item)), (item, rows[item, place] - 1)), shape=(len(rows), row_count)
    )
    fit = Ridge(alpha=0.1, fit_intercept=False, solver="lsqr", tol=1e-4).fit(used, vectors)
    found: npt.NDArray[np.float32] = np.ascontiguousarray(fit.coef_.T, dtype=np.float32)
    return found
