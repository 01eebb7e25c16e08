"""SID-sum: an item is the sum of its code vectors.

The simplest way to feed semantic IDs to a sequence model: one table a level, added up (Singh et al., "Better
Generalization with Semantic IDs", RecSys 2024, arXiv 2306.08121, unigrams; TIGER's codes, arXiv 2305.05065).
"""

from typing import Self

import torch

from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.tables import TableBranch
from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.item_table import ItemTable
from h2rec.models.settings import BranchModelSettings
from h2rec.models.warm_start import TextStart
from h2rec.semantic_ids.codes import SemanticIds


class CodeSum(ItemTable):
    """``sum_l C^l[z_v^l]``."""

    def __init__(self, semantic_ids: SemanticIds, dim: int) -> None:
        super().__init__()
        self.codes = CodeTable(semantic_ids.padded(), semantic_ids.codebook_sizes, dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return weighted_sum(self.codes.rows(items), None, self.codes.vectors)

    def start(self, text: TextStart) -> None:
        self.codes.start(text)

    def grow(self, smaller: Self, new: NewItems) -> None:
        # New items have known codes.
        self.codes.load_state_dict(smaller.codes.state_dict())


class CodeSumBranch(TableBranch):
    """A backbone over sums of code vectors."""

    reads_codes = True

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        return cls(settings, model, CodeSum(features.require_codes("a branch of code sums"), model.dim))
