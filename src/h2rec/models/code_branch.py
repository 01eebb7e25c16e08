"""A branch whose items are made of their codes: how it fuses, encodes and scores them."""

from dataclasses import dataclass

import torch

from h2rec.models.backbones import Backbone
from h2rec.models.branch_items import CodedItems, DenseItems
from h2rec.models.code_scores import code_scores
from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.models.identity import ItemResidual
from h2rec.models.row_sum import RowSum
from h2rec.models.scoring import item_side, user_side
from h2rec.models.settings import Normalise, ScoreSettings


@dataclass(frozen=True, eq=False)
class CodeBranch:
    """Items are ``sum_l alpha_l e^l``, and a residual of their own behind it where there is one.

    The modules belong to the model; this is what is done with them. Symbols: `B` batch, `T` steps, `L` levels,
    `d` hidden size, `n` positions read, `M` items.

    Parameters
    ----------
    table
        The code vectors.
    encoder
        The branch's backbone.
    residual
        Identity beside the codes, or None.
    score
        How users and items are compared.
    normalise
        What has unit length where scores are cosines.
    weight
        What the branch's score weighs in the sum.
    """

    table: CodeTable
    encoder: Backbone
    residual: ItemResidual | None
    score: ScoreSettings
    normalise: Normalise
    weight: float

    def fused(self, items: torch.Tensor, rows: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """What the encoder reads at each position, `[B, T, d]`."""
        fused = weighted_sum(rows, alpha, self.table.vectors)
        return fused if self.residual is None else fused + self.residual(items)

    def user(self, state: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """``[alpha_1 u; ..; alpha_L u]``, and `u` behind it where there is a residual, as wide as an item's vector."""
        user = user_side(state, self.score, self.weight)
        weighted = (alpha[..., None] * user[:, None]).flatten(1)
        return weighted if self.residual is None else torch.cat([weighted, user], dim=1)

    def items(self, items: torch.Tensor) -> CodedItems:
        """Items `[M]` as their codes, and the residual behind them where there is one."""
        residual = None if self.residual is None else self._residual(items)
        scale = self._scales(items) if self._by_item else None
        sizes = [size + 1 for size in self.table.codebook_sizes]
        # A copy: what scores a catalogue stays as it is while training goes on.
        return CodedItems(self.table.rows(items), self._vectors().clone(), sizes, residual, scale)

    def scores(
        self, state: torch.Tensor, alpha: torch.Tensor, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of each position's target, `[n]`, and of items that all share, `[n, M]`, by a table of the codes."""
        user = user_side(state, self.score, self.weight)
        own, shared = code_scores(user, alpha, self.table, self._vectors(), targets=targets, items=items)
        if self.residual is not None:
            own = own + (user * self._residual(targets)).sum(-1)
            shared = shared + user @ self._residual(items).T
        if self._by_item:
            own, shared = own * self._scales(targets)[:, 0], shared * self._scales(items).T
        return own, shared

    @property
    def _by_item(self) -> bool:
        return self.score.kind == "cosine" and self.normalise == "item"

    def _vectors(self) -> torch.Tensor:
        return self.table.vectors if self.normalise == "item" else item_side(self.table.vectors, self.score)

    def _residual(self, items: torch.Tensor) -> torch.Tensor:
        assert self.residual is not None
        residual: torch.Tensor = self.residual(items)
        if self.score.kind == "cosine" and self.normalise == "level":
            residual = item_side(residual, self.score) * self.residual.kept[items][:, None]
        return residual

    def _scales(self, items: torch.Tensor) -> torch.Tensor:
        """One over the length of each item as equal weights would fuse it, `[M, 1]`: static, alpha moves around it."""
        whole = weighted_sum(self.table.rows(items), None, self.table.vectors) / self.table.levels
        if self.residual is not None:
            whole = whole + self.residual(items)
        length: torch.Tensor = whole.norm(dim=-1, keepdim=True)
        return 1 / length.clamp(min=1e-6)


@dataclass(frozen=True, eq=False)
class TreeBranch:
    """Items are leaves of the tree of their codes: static vectors, which alpha does not weigh.

    Parameters
    ----------
    nodes
        Vectors of the prefixes that an item's codes begin with, added up.
    encoder, residual, score, weight
        As in `CodeBranch`, whose methods these are; the residual is the leaf.
    """

    nodes: RowSum
    encoder: Backbone
    residual: ItemResidual
    score: ScoreSettings
    weight: float

    def fused(self, items: torch.Tensor, rows: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """What the encoder reads at each position, `[B, T, d]`."""
        return self._vectors(items)

    def user(self, state: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """The user's side of the score, `[n, d]`."""
        return user_side(state, self.score, self.weight)

    def items(self, items: torch.Tensor) -> DenseItems:
        """Items `[M]` as vectors."""
        return DenseItems(item_side(self._vectors(items), self.score))

    def scores(
        self, state: torch.Tensor, alpha: torch.Tensor, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of each position's target, `[n]`, and of items that all share, `[n, M]`."""
        user = self.user(state, alpha)
        own = (user * item_side(self._vectors(targets), self.score)).sum(-1)
        return own, user @ item_side(self._vectors(items), self.score).T

    def _vectors(self, items: torch.Tensor) -> torch.Tensor:
        return self.nodes(items) + self.residual(items)  # type: ignore[no-any-return]
