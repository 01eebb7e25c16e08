"""Which items occur close together in training sequences, as a sparse matrix."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from h2rec.data.histories import Histories, IntArray

if TYPE_CHECKING:
    from scipy import sparse


def cooccurrence(train: Histories, item_count: int, window: int) -> "sparse.csr_matrix":
    """Return a boolean `[N + 1, N + 1]` matrix: items within `window` positions of one training sequence.

    Built from training sequences alone (never from held-out items), in memory proportional to the
    number of interactions. The diagonal is empty.
    """
    from scipy import sparse  # imported late: serving never needs it

    flat = np.asarray(train.items)
    users = np.repeat(np.arange(len(train)), train.lengths)
    matrix: sparse.csr_matrix = sparse.csr_matrix((item_count + 1, item_count + 1), dtype=bool)
    for distance in range(1, window + 1):
        same_user = users[:-distance] == users[distance:]
        left, right = flat[:-distance][same_user], flat[distance:][same_user]
        ones = np.ones(len(left), dtype=bool)
        pairs = sparse.csr_matrix((ones, (left, right)), shape=matrix.shape)
        matrix = matrix + pairs + pairs.T
    matrix.setdiag(False)
    matrix.eliminate_zeros()
    return matrix


def neighbours_within(matrix: "sparse.csr_matrix", items: IntArray) -> torch.Tensor:
    """Restrict the matrix to some items, as a dense boolean `[B, B]` tensor."""
    return torch.from_numpy(matrix[items][:, items].toarray())
