"""Semantic IDs: code vectors of every level, fused by the user's intent (the SID branch of the paper)."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch

from h2rec.batching.sequences import read
from h2rec.models.backbones import Backbone, make_backbone
from h2rec.models.branch_items import BranchItems, CodedItems
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.code_scores import code_scores
from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.item_table import ItemTable
from h2rec.models.protocol import Intent
from h2rec.models.reasons import MOST_REASONS, Reason
from h2rec.models.score import Score
from h2rec.models.settings import BranchModelSettings
from h2rec.models.ties.fusion import FusionNetwork
from h2rec.models.warm_start import TextStart
from h2rec.semantic_ids.codes import CodeArray, SemanticIds


class CodesBranch(Branch):
    """Items are ``sum_l alpha_l e^l``; alpha is computed from the history, once for all branches.

    Symbols: `B` batch, `T` steps, `L` levels, `d` hidden size, `n` positions read.
    """

    reads_codes = True

    def __init__(self, settings: BranchSettings, model: BranchModelSettings, ids: SemanticIds) -> None:
        super().__init__()
        self.settings = settings
        self.table = CodeTable(ids.padded(), ids.codebook_sizes, model.dim)
        self.fusion = FusionNetwork(self.table.levels, model.dim, model.ties.fusion, model.ties.intent)
        self.encoder: Backbone = make_backbone(model, settings.layers)
        self.score: Score = model.score_of(settings)
        self._codes = ids.codes

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        return cls(settings, model, features.require_codes(f"a branch of kind {settings.kind}"))

    @property
    def identities(self) -> ItemTable | None:
        """Hash IDs that the branch has beside its codes: alignment ties both. None: those of another branch."""
        return None

    def intent(self, items: torch.Tensor, lengths: torch.Tensor, at: torch.Tensor) -> Intent:
        """Weights of the levels at every position, and at those read."""
        rows = self.table.rows(items)
        mask_item = len(self.table.item_rows) - 1 if self.encoder.objective == "cloze" else None
        alpha = self.fusion.alpha(self.table, rows, items, lengths, mask_item)
        return Intent(rows, alpha, read(alpha, at))

    def forward(self, sequences: Sequences, intent: Intent | None) -> BranchRead:
        """``u^S = Encoder_S(x_1^S .. x_n^S)``, and the user's side ``[alpha_1 u; ..; alpha_L u]``."""
        assert intent is not None
        state = self.states(sequences, intent.rows, intent.alpha)
        user = self.score.user_side(state)
        return BranchRead((intent.read_alpha[..., None] * user[:, None]).flatten(1), state)

    def states(self, sequences: Sequences, rows: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """User states ``u^S`` `[n, d]` from code rows and weights of the levels, `[B, T, L]` both."""
        return read(
            self.encoder(weighted_sum(rows, alpha, self.table.vectors), sequences.lengths), sequences.at
        )

    def masked(self, sequences: Sequences, alpha: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """User states ``u~^S`` `[B, d]` with one `level` `[B]` of each sequence masked (masked sequence granularity).

        One position of each sequence is read. `alpha` `[B, T, L]`, the weights of the levels, does not change.
        """
        hidden = torch.arange(self.table.levels, device=level.device) == level[:, None]  # [B, L]
        rows = torch.where(hidden[:, None], self.table.mask_rows, self.table.rows(sequences.items))
        return self.states(sequences, rows, alpha)

    def sums(self, items: torch.Tensor) -> torch.Tensor:
        """Sum of the code vectors of items `[M]`, `[M, d]`: the SID side of the alignment."""
        return weighted_sum(self.table.rows(items), None, self.table.vectors)

    def items(self, items: torch.Tensor) -> BranchItems:
        """Items `[M]` as their codes."""
        sizes = [size + 1 for size in self.table.codebook_sizes]
        # A copy: the scored catalogue must not change while training goes on.
        return CodedItems(self.table.rows(items), self._scored_vectors().clone(), sizes)

    def scores(
        self, read: BranchRead, intent: torch.Tensor | None, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert read.encoded is not None
        assert intent is not None
        user = self.score.user_side(read.encoded)
        return code_scores(user, intent, self.table, self._scored_vectors(), targets=targets, items=items)

    def start(self, text: TextStart) -> None:
        self.table.start(text)

    def grow(self, smaller: Self, new: NewItems) -> None:
        # New items have known codes.
        self.table.load_state_dict(smaller.table.state_dict())
        self.fusion.load_state_dict(smaller.fusion.state_dict())
        self.encoder.load_state_dict(smaller.encoder.state_dict())

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        return reasons_by_codes(self._codes, items, history)

    def _scored_vectors(self) -> torch.Tensor:
        return self.score.item_side(self.table.vectors)


def reasons_by_codes(codes: CodeArray, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
    """For each item, those of a history that share most leading codes with it, latest first among equals."""
    reasons: list[list[Reason]] = [[] for _ in items]
    distinct = list(dict.fromkeys(reversed(history)))
    if not distinct or not items:
        return reasons
    listed, known = codes[np.array(items) - 1], codes[np.array(distinct) - 1]
    lengths = np.zeros((len(items), len(distinct)), np.int32)
    equal = np.ones(lengths.shape, np.bool_)
    for level in range(codes.shape[1]):
        equal &= listed[:, level, None] == known[None, :, level]
        lengths += equal
    rows = np.arange(len(items))
    for _ in range(min(MOST_REASONS, len(distinct))):
        best = lengths.argmax(axis=1)  # the first of equals, which is the latest
        for own, place, length in zip(reasons, best.tolist(), lengths[rows, best].tolist(), strict=True):
            if length > 0:
                own.append(Reason(distinct[place], "codes", length))
        lengths[rows, best] = 0
    return reasons
