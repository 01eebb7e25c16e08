"""The items of one branch in the form that scores them: as vectors, or as codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional as F


class BranchItems(Protocol):
    """Some items `M` of one branch, in the form that scores them fastest."""

    def vectors(self) -> torch.Tensor:
        """Static vectors `[M, D]`; a user vector's inner product with one is the score."""

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """Scores `[M, n]` of all items for user vectors `[n, D]`; an item's scores are one row."""


@dataclass(frozen=True, eq=False)
class DenseItems:
    """Items as vectors `[M, D]`."""

    matrix: torch.Tensor

    def vectors(self) -> torch.Tensor:
        return self.matrix

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        return self.matrix @ users.T


@dataclass(frozen=True, eq=False)
class CodedItems:
    """Items as codes, ``[e^1; ..; e^L]``.

    A user has ``sum_l K_l`` inner products with code vectors, and every item's score is a sum of `L` of them. That
    takes the memory of the codes, where the vectors would take that of ``L d`` numbers an item.
    """

    rows: torch.Tensor
    """Rows of the code vectors for each item, int64 `[M, L]`."""
    codes: torch.Tensor
    """Code vectors of all levels, one level after the other, `[R, d]`."""
    sizes: Sequence[int]
    """Code vectors of each level; they add up to `R`."""

    def vectors(self) -> torch.Tensor:
        return self.codes[self.rows].flatten(1)

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        by_level = users.split(self.codes.shape[1], dim=1)
        levels = zip(self.codes.split(list(self.sizes)), by_level, strict=True)
        by_code = torch.cat([codes @ user.T for codes, user in levels])  # [R, n]
        # Codes are rows of that table: a lookup adds up whole rows.
        return F.embedding_bag(self.rows, by_code, mode="sum")
