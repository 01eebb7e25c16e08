"""Multi-granularity cross-attention: an item's hash ID reads its own codes (H2Rec, MCA)."""

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.models.protocol import Intent


class MultiGranularityCrossAttention(nn.Module):
    """Attention of one query (the hash ID) over `L` keys and values (the weighted code vectors).

    Keys and values are linear in the code vectors: they are projected once per code, `[R, d]`, not once
    per token. No layer on the value path has a bias, so zero values give exactly zero.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, hid: torch.Tensor, rows: torch.Tensor, alpha: torch.Tensor, table: CodeTable
    ) -> torch.Tensor:
        """``MCA(h_t; {alpha_l e_t^l})``, `[B, T, d]`, for hash IDs `[B, T, d]`, code rows and weights `[B, T, L]`."""
        # [B, T, 1, d] x [B, T, L, d] -> [B, T, L]; alpha scales key and value alike:
        # k_l = W_k (alpha_l e_l) = alpha_l (W_k e_l).
        key = F.embedding(rows, self.key(table.vectors))
        scores = (self.query(hid).unsqueeze(2) * key).sum(-1) * alpha * hid.shape[-1] ** -0.5
        # Softmax over an inner dimension rounds otherwise than over the last; published figures are of this form.
        weights = scores.unsqueeze(-1).softmax(dim=2).squeeze(-1) * alpha
        return self.out(weighted_sum(rows, weights, self.value(table.vectors)))  # type: ignore[no-any-return]


class CrossAttentionTie(nn.Module):
    """Lets a branch of hash IDs read the codes of a branch of codes.

    `keeps_identity`: whether the hash ID is added to what it reads (``x^H = h + MCA(h; ..)``).
    """

    def __init__(self, dim: int, table: CodeTable, *, keeps_identity: bool) -> None:
        super().__init__()
        self.attention = MultiGranularityCrossAttention(dim)
        self.keeps_identity = keeps_identity
        self._table = (table,)  # in a tuple: the table belongs to the branch of codes
        self.norms: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, hid: torch.Tensor, intent: Intent) -> torch.Tensor:
        """Input of the encoder, `[B, T, d]`, for hash IDs `[B, T, d]`; stores the mean norms of both terms."""
        codes_read: torch.Tensor = self.attention(hid, intent.rows, intent.alpha, self._table[0])
        self.norms = (hid.detach().norm(dim=-1).mean(), codes_read.detach().norm(dim=-1).mean())
        return hid + codes_read if self.keeps_identity else codes_read
