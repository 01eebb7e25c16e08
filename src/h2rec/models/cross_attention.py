"""Multi-granularity cross-attention: an item's HID asks its own codes (H2Rec, MCA)."""

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.models.code_table import CodeTable, weighted_sum


class MultiGranularityCrossAttention(nn.Module):
    """Attention of one query (the HID) over `L` keys and values (the weighted code vectors).

    Keys and values are linear in the code vectors: they are projected once per code, `[R, d]`, not once
    per token. No layer on the value path has a bias, so zero values give exactly zero.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, hid: torch.Tensor, rows: torch.Tensor, alpha: torch.Tensor, table: CodeTable
    ) -> torch.Tensor:
        """Read the codes of each position.

        Parameters
        ----------
        hid
            Queries `h_t`, `[B, T, d]`.
        rows
            Code rows of each position, `[B, T, L]`.
        alpha
            Level weights, `[B, T, L]`.

        Returns
        -------
        torch.Tensor
            ``MCA(h_t; {alpha_l e_t^l})``, `[B, T, d]`.
        """
        batch, steps, dim = hid.shape
        size = dim // self.heads
        query = self.query(hid).view(batch, steps, 1, self.heads, size)
        key = F.embedding(rows, self.key(table.vectors)).view(batch, steps, -1, self.heads, size)
        # alpha scales key and value alike: k_l = W_k (alpha_l e_l) = alpha_l (W_k e_l).
        scores = (query * key).sum(-1) * alpha[..., None] * size**-0.5  # [B, T, L, heads]
        weights = scores.softmax(dim=2) * alpha[..., None]
        values = self.value(table.vectors).split(size, dim=1)
        read = [
            weighted_sum(rows, weights[..., head].contiguous(), value.contiguous())
            for head, value in enumerate(values)
        ]
        return self.out(torch.cat(read, dim=-1))  # type: ignore[no-any-return]
