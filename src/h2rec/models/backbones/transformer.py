"""The transformer encoder of SASRec (causal) and BERT4Rec (bidirectional).

SASRec: Kang and McAuley, ICDM 2018 (arXiv 1808.09781). BERT4Rec: Sun et al., CIKM 2019
(arXiv 1904.06690). Both with layer normalisation in front of each sublayer, which trains stably
without warm-up.
"""

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.models.backbones.dropout import Dropout
from h2rec.models.backbones.precision import mixed_precision


class TransformerBackbone(nn.Module):
    """Positions, dropout and self-attention blocks."""

    def __init__(
        self,
        dim: int,
        layers: int,
        dropout: float,
        heads: int,
        max_length: int,
        *,
        causal: bool,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.mixed = False
        self.positions = nn.Embedding(max_length, dim)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.entry_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout, attention_dropout) for _ in range(layers))
        self.exit_norm = nn.LayerNorm(dim)

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode `[B, T, d]` padded on the right to `[B, T, d]`."""
        steps = torch.arange(vectors.shape[1], device=vectors.device)
        positions = self.positions(places_from_end(lengths, steps, self.positions.num_embeddings))
        x = self.dropout(self.entry_norm(vectors + positions))
        # Right padding comes after every real position: the causal mask alone hides it.
        visible = None if self.causal else (steps < lengths[:, None])[:, None, None, :]
        with mixed_precision(self, x.device):
            for block in self.blocks:
                x = block(x, visible, self.causal)
        return self.exit_norm(x.float())  # type: ignore[no-any-return]


def places_from_end(lengths: torch.Tensor, steps: torch.Tensor, most: int) -> torch.Tensor:
    """Places of the steps of sequences padded on the right, int64 `[B, T]`, the last step's being ``most - 1``.

    Counted from the end, the next item is always asked for at the same place. Padding has the last step's.
    """
    return (most - lengths[:, None] + steps).clamp(max=most - 1)


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, visible: torch.Tensor | None, causal: bool) -> torch.Tensor:
        batch, steps, dim = x.shape
        # [B, T, 3d] -> 3 x [B, heads, T, d / heads]
        split = self.query_key_value(self.attention_norm(x)).view(
            batch, steps, 3, self.heads, dim // self.heads
        )
        query, key, value = split.permute(2, 0, 3, 1, 4)
        dropped = self.attention_dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, is_causal=causal, dropout_p=dropped
        )
        x = x + self.dropout(self.attention_out(read.transpose(1, 2).reshape(batch, steps, dim)))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # type: ignore[no-any-return]
