"""What every sequence model can do: user vectors, item vectors, and scores as their inner products."""

from dataclasses import dataclass
from typing import Protocol

import torch

from h2rec.batching.sequences import Objective

BranchVectors = tuple[torch.Tensor, ...]
"""One tensor `[n, D_b]` per branch, in the order of `SequenceModel.branches`."""


@dataclass(frozen=True, eq=False)
class UserStates:
    """What a model read from sequences at `n` positions.

    Parameters
    ----------
    vectors
        User vectors, one tensor `[n, D_b]` a branch, scaled so that the branch's score of an item is
        the inner product with the item's vector.
    code_states
        Outputs of the encoders of the branches made of codes, `[n, d]` each, the SID encoder's first.
    alpha
        Weights of the levels at every position, `[B, T, L]`; None for a model without codes.
    read_alpha
        Weights of the levels at the positions read, `[n, L]`; None for a model without codes.
    norms
        Mean norm of the HIDs and of what the cross-attention adds to them (for diagnosis), or None.
    user_state
        User vectors before they are scaled for scoring, `[n, D]`, where a loss of the model's own asks for them.
    """

    vectors: BranchVectors
    code_states: BranchVectors = ()
    alpha: torch.Tensor | None = None
    read_alpha: torch.Tensor | None = None
    norms: tuple[torch.Tensor, torch.Tensor] | None = None
    user_state: torch.Tensor | None = None

    @property
    def sid_state(self) -> torch.Tensor | None:
        """Output `u^S` of the SID encoder, `[n, d]`; None for a model without codes."""
        return self.code_states[0] if self.code_states else None


class SequenceModel(Protocol):
    """A model for next-item prediction over items 1..N."""

    item_count: int
    branches: tuple[str, ...]
    objective: Objective
    max_length: int
    mask_item: int | None
    """Index that stands for a masked item, where the model predicts masked items."""

    def __call__(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode items `[B, T]` (right padded, lengths `[B]`) and read the `n` positions set in `reads`.

        `reads` is a mask `[B, T]` or flat positions, int64 `[n]`.
        """
        ...

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static vectors of items `[M]`, one tensor `[M, D_b]` a branch."""
        ...


def positions_read(reads: torch.Tensor) -> torch.Tensor:
    """Flat indices of the positions set in `reads` `[B, T]`, int64 `[n]`; flat indices stay as they are.

    Indices leave the number of positions read to the shapes, which a traced or exported model needs.
    """
    if reads.dtype == torch.int64:
        return reads
    return reads.flatten().nonzero().squeeze(1)


def read(states: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Rows of `[B, T, d]` at flat positions `[n]`, `[n, d]`; cheaper on the way back than a boolean mask."""
    return states.flatten(0, 1).index_select(0, at)


def scores_of_targets(
    model: SequenceModel, states: UserStates, targets: torch.Tensor, items: torch.Tensor
) -> tuple[BranchVectors, BranchVectors]:
    """Scores of each position's own target, `[n]` a branch, and of items that all positions share, `[n, M]` a branch.

    A model that knows a shorter way than static item vectors has a method `score_targets`.
    """
    if hasattr(model, "score_targets"):
        found: tuple[BranchVectors, BranchVectors] = model.score_targets(states, targets, items)
        return found
    own = paired_branch_scores(states.vectors, model.item_vectors(targets))
    return own, branch_scores(states.vectors, model.item_vectors(items))


def branch_scores(users: BranchVectors, items: BranchVectors) -> tuple[torch.Tensor, ...]:
    """Scores of every user against every item, one tensor `[n, M]` a branch."""
    return tuple(user @ item.T for user, item in zip(users, items, strict=True))


def paired_branch_scores(users: BranchVectors, items: BranchVectors) -> tuple[torch.Tensor, ...]:
    """Scores of each user against its own item: `[n, D_b]` with `[n, D_b]` gives `[n]` a branch."""
    return tuple((user * item).sum(-1) for user, item in zip(users, items, strict=True))
