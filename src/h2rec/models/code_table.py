"""The learned code vectors of every level, and fast weighted sums over an item's codes."""

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.models.warm_start import TextStart, code_vectors
from h2rec.semantic_ids.codes import CodeArray


class CodeTable(nn.Module):
    """Tables `C^l` of all levels in one matrix, with one learned mask vector a level.

    An item's codes are `L` rows of that matrix. A weighted sum over them is one embedding bag, without a tensor of
    shape `[.., L, d]`. `codes` are int32 `[N + 1, L]`, padding first.
    """

    def __init__(self, codes: CodeArray, codebook_sizes: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.levels = len(codebook_sizes)
        self.codebook_sizes = codebook_sizes
        starts = torch.tensor([0, *codebook_sizes]).cumsum(0)[:-1] + torch.arange(self.levels)
        mask_rows = starts + torch.tensor(codebook_sizes)
        rows = torch.from_numpy(codes).long() + starts
        # Padding and the masked item have the mask at every level.
        rows[0] = mask_rows
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("mask_rows", mask_rows, persistent=False)
        self.register_buffer("item_rows", torch.cat([rows, mask_rows[None]]), persistent=False)
        self.vectors = nn.Parameter(torch.empty(int(sum(codebook_sizes)) + self.levels, dim))
        nn.init.normal_(self.vectors, std=0.02)

    item_rows: torch.Tensor
    mask_rows: torch.Tensor
    starts: torch.Tensor

    def start(self, text: TextStart) -> None:
        """Start each code at what its items' texts have in common, level by level; mask vectors stay as they are."""
        ids = text.features.require_codes("a warm start of codes")
        tables, _ = code_vectors(text.vectors, ids.codes, ids.codebook_sizes, text.features.described)
        with torch.no_grad():
            for level, table in zip(self.by_level(self.vectors), tables, strict=True):
                level[:-1] = torch.from_numpy(table)

    def rows(self, items: torch.Tensor) -> torch.Tensor:
        """Rows of the matrix for items `[...]`, int64 `[..., L]`."""
        return self.item_rows[items]

    def by_level(self, matrix: torch.Tensor) -> list[torch.Tensor]:
        """Cut a matrix with one row a code `[R, ..]` into levels of `[K_l + 1, ..]`, mask last."""
        return list(matrix.split([size + 1 for size in self.codebook_sizes]))


def weighted_sum(rows: torch.Tensor, weights: torch.Tensor | None, matrix: torch.Tensor) -> torch.Tensor:
    """Sum an item's rows of a matrix: rows and weights `[..., L]`, matrix `[R, D]`, result `[..., D]`."""
    flat_weights = None if weights is None else weights.reshape(-1, rows.shape[-1])
    summed = F.embedding_bag(
        rows.reshape(-1, rows.shape[-1]), matrix, mode="sum", per_sample_weights=flat_weights
    )
    return summed.view(*rows.shape[:-1], matrix.shape[-1])
