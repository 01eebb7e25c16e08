"""SID-sum: an item is the sum of its code vectors.

The simplest way to feed semantic IDs to a sequence model: one table a level, added up (Singh et al., "Better
Generalization with Semantic IDs", RecSys 2024, arXiv 2306.08121, unigrams; TIGER's codes, arXiv 2305.05065).
"""

import torch
from torch import nn

from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.semantic_ids.codes import SemanticIds


class CodeSum(nn.Module):
    """``sum_l C^l[z_v^l]``."""

    def __init__(self, semantic_ids: SemanticIds, dim: int) -> None:
        super().__init__()
        self.codes = CodeTable(semantic_ids.padded(), semantic_ids.codebook_sizes, dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items: `[...]` to `[..., d]`."""
        return weighted_sum(self.codes.rows(items), None, self.codes.vectors)
