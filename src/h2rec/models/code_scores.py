"""Scores by codes: an item's score is a weighted sum of its codes' scores, looked up in one table.

``sum_l alpha_l <u, e^l>`` needs `sum_l K_l` inner products a user, not `L` times the number of items.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from h2rec.models.code_table import CodeTable


def code_scores(
    users: torch.Tensor,
    alpha: torch.Tensor,
    table: CodeTable,
    vectors: torch.Tensor,
    *,
    targets: torch.Tensor,
    items: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score each user's own target, `[n]`, and every item for every user, `[n, M]`, by their codes.

    `users` `[n, d]` have level weights `alpha` `[n, L]`; `vectors` `[R, d]` are the table's, as scores use them.
    """
    starts = (*table.starts.tolist(), len(vectors))
    own, shared = table.rows(targets).T.contiguous(), table.rows(items)
    positive, scores = _CodeScores.apply(users, alpha, vectors, (own, shared, starts))  # type: ignore[no-untyped-call]
    return positive, scores.T


class _CodeScores(Function):
    """The lookup with its gradient written out.

    Autograd would keep alpha spread over all codes and go over tables of `[R, n]` several times more. All
    tables here have codes as rows, so that a lookup copies whole rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: torch.Tensor,
        alpha: torch.Tensor,
        vectors: torch.Tensor,
        lookups: tuple[torch.Tensor, torch.Tensor, tuple[int, ...]],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        own, shared, starts = lookups
        by_code = vectors @ users.T  # [R, n]
        weighted = torch.empty_like(by_code)
        for level, (start, stop) in enumerate(pairwise(starts)):
            torch.mul(by_code[start:stop], alpha[:, level], out=weighted[start:stop])
        ctx.save_for_backward(users, alpha, vectors, own, shared, by_code)
        ctx.starts = starts
        return weighted.gather(0, own).sum(0), F.embedding_bag(shared, weighted, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, own_gradient: torch.Tensor, shared_gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        users, alpha, vectors, own, shared, by_code = ctx.saved_tensors
        gradient = torch.zeros_like(by_code)
        for level in shared.T:
            gradient.index_add_(0, level, shared_gradient)
        gradient.scatter_add_(0, own, own_gradient.expand_as(own))
        alpha_gradient = torch.empty_like(alpha)
        for level, (start, stop) in enumerate(pairwise(ctx.starts)):
            alpha_gradient[:, level] = (gradient[start:stop] * by_code[start:stop]).sum(0)
            gradient[start:stop] *= alpha[:, level]
        return gradient.T @ vectors, alpha_gradient, gradient @ users, None
