"""The items of one branch, as users score them: as vectors, or as codes and what scores by them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch.nn import functional as F


class BranchItems(Protocol):
    """Some items `M` of one branch, in the form that scores them fastest."""

    def vectors(self) -> torch.Tensor:
        """Static vectors `[M, D]`; a user vector's inner product with one is the score."""
        ...

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """Scores `[M, n]` of all items for user vectors `[n, D]`; an item's scores are one row."""
        ...

    def scaled(self, scale: torch.Tensor) -> Self:
        """The same items with their scores multiplied, each by its own factor, `[M, 1]`."""
        ...


@dataclass(frozen=True, eq=False)
class DenseItems:
    """Items as vectors `[M, D]`."""

    matrix: torch.Tensor

    def vectors(self) -> torch.Tensor:
        """See `BranchItems.vectors`."""
        return self.matrix

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """See `BranchItems.scores`."""
        return self.matrix @ users.T

    def scaled(self, scale: torch.Tensor) -> Self:
        """See `BranchItems.scaled`."""
        return replace(self, matrix=self.matrix * scale)


@dataclass(frozen=True, eq=False)
class CodedItems:
    """Items as codes, ``[e^1; ..; e^L]``, and a residual of their own behind them where there is one.

    A user has ``sum_l K_l`` inner products with code vectors, and every item's score is a sum of `L` of them. That
    takes the memory of the codes, where the vectors would take that of ``L d`` numbers an item.

    Parameters
    ----------
    rows
        Rows of the code vectors for each item, int64 `[M, L]`.
    codes
        Code vectors of all levels, one level after the other, `[R, d]`.
    sizes
        Code vectors of each level; they add up to `R`.
    residual
        `[M, d]`, or None.
    scale
        Factor of each item's score, `[M, 1]`, or None.
    """

    rows: torch.Tensor
    codes: torch.Tensor
    sizes: Sequence[int]
    residual: torch.Tensor | None = None
    scale: torch.Tensor | None = None

    def vectors(self) -> torch.Tensor:
        """See `BranchItems.vectors`; `D` is ``L d``, or ``(L + 1) d`` with a residual."""
        parts = self.codes[self.rows]  # [M, L, d]
        if self.residual is not None:
            parts = torch.cat([parts, self.residual[:, None]], dim=1)
        return (parts if self.scale is None else parts * self.scale[..., None]).flatten(1)

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """See `BranchItems.scores`."""
        of_levels = users.split(self.codes.shape[1], dim=1)
        levels = zip(self.codes.split(list(self.sizes)), of_levels, strict=False)
        by_code = torch.cat([codes @ user.T for codes, user in levels])  # [R, n]
        # Codes are rows of that table: a lookup adds up whole rows.
        found = F.embedding_bag(self.rows, by_code, mode="sum")
        if self.residual is not None:
            found = found + self.residual @ of_levels[-1].T
        return found if self.scale is None else found * self.scale

    def scaled(self, scale: torch.Tensor) -> Self:
        """See `BranchItems.scaled`."""
        return replace(self, scale=scale if self.scale is None else self.scale * scale)
