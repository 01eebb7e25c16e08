"""The transformer encoder of SASRec (causal) and BERT4Rec (bidirectional).

SASRec: Kang and McAuley, ICDM 2018 (arXiv 1808.09781). BERT4Rec: Sun et al., CIKM 2019
(arXiv 1904.06690). Both with layer normalisation in front of each sublayer, which trains stably
without warm-up.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.batching.sequences import read
from h2rec.models.backbones.dropout import Dropout
from h2rec.models.backbones.precision import mixed_precision
from h2rec.models.backbones.protocol import Backbone, Sizes
from h2rec.models.backbones.registry import BackboneSettings


class Block(nn.Module):
    """Attention and a feed-forward network, each behind a layer normalisation and beside a residual.

    `B` batch, `T` steps, `d` hidden size.
    """

    expansion: ClassVar[int] = 1
    """Inner width of the feed-forward network, in `d`: 1 as in SASRec. Four times as wide gives nothing here, and
    takes nearly half of a training."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = self.make_feed_forward(dim)
        self.dropout = Dropout(dropout)

    @classmethod
    def make_feed_forward(cls, dim: int) -> nn.Module:
        """Make the network of each position, `[.., d]` to `[.., d]`."""
        inner = cls.expansion * dim
        return nn.Sequential(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))

    def forward(
        self, x: torch.Tensor, visible: torch.Tensor | None, at: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map `[B, T, d]` to `[B, T, d]`, or to `[n, d]` at some flat positions `[n]` alone.

        `visible`: what positions see of each other, bool `[B or n, 1, T or 1, T]`; None: what is not later.
        """
        own = x if at is None else read(x, at)
        own = own + self.dropout(self.mix(self.attention_norm(x), visible, at))
        return own + self.dropout(self.feed_forward(self.feed_forward_norm(own)))  # type: ignore[no-any-return]

    def mix(self, x: torch.Tensor, visible: torch.Tensor | None, at: torch.Tensor | None) -> torch.Tensor:
        """What positions read of each other: attention."""
        batch, steps, dim = x.shape
        if at is not None:
            return self._mix_at(x, visible, at)
        # [B, T, 3d] -> 3 x [B, heads, T, d / heads]
        split = self.query_key_value(x).view(batch, steps, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, is_causal=visible is None
        )
        return self.attention_out(found.transpose(1, 2).reshape(batch, steps, dim))  # type: ignore[no-any-return]

    def _mix_at(self, x: torch.Tensor, visible: torch.Tensor | None, at: torch.Tensor) -> torch.Tensor:
        """The same at some positions, without keys and values of all the others.

        ``q . K x = K' q . x``, and a weighted sum of ``V x`` is `V` of the weighted sum: so the few queries are
        multiplied, and not every position. A key's bias changes no softmax, a value's is added once.
        """
        count, steps, dim = at.shape[0], x.shape[1], x.shape[2]
        (of_query, of_key, of_value), bias = self.query_key_value.weight.split(dim), self.query_key_value.bias
        query = F.linear(read(x, at), of_query, bias[:dim]).view(count, self.heads, -1)
        asked = torch.einsum("nhe,hed->nhd", query, of_key.view(self.heads, -1, dim))
        seen = x[at // steps][:, None].expand(-1, self.heads, -1, -1)
        scale = (dim // self.heads) ** -0.5
        # [n, heads, 1, d]
        found = F.scaled_dot_product_attention(asked[:, :, None], seen, seen, attn_mask=visible, scale=scale)
        value = torch.einsum("nhd,hed->nhe", found[:, :, 0], of_value.view(self.heads, -1, dim))
        return self.attention_out(value.flatten(1) + bias[2 * dim :])  # type: ignore[no-any-return]


class TransformerBackbone(Backbone):
    """Positions, dropout and blocks of self-attention."""

    block: ClassVar[type[Block]]
    """The block that layers are made of."""

    def __init__(self, sizes: Sizes, settings: BackboneSettings) -> None:
        super().__init__(sizes, settings)
        self.positions = nn.Embedding(sizes.max_length, sizes.dim)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.entry_norm = nn.LayerNorm(sizes.dim)
        self.dropout = Dropout(sizes.dropout)
        self.blocks = nn.ModuleList(
            type(self).block(sizes.dim, sizes.heads, sizes.dropout) for _ in range(sizes.layers)
        )
        self.exit_norm = nn.LayerNorm(sizes.dim)

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode `[B, T, d]` padded on the right to `[B, T, d]`."""
        return self._encode(vectors, lengths, None)

    def read(self, vectors: torch.Tensor, lengths: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """See `Backbone.read`. Of few positions, the last block computes no others."""
        # Sizes by `shape`: a trace or an export takes what `len` says for a constant.
        if at.shape[0] > lengths.shape[0]:
            return super().read(vectors, lengths, at)
        return self._encode(vectors, lengths, at)

    def _encode(self, vectors: torch.Tensor, lengths: torch.Tensor, at: torch.Tensor | None) -> torch.Tensor:
        steps = torch.arange(vectors.shape[1], device=vectors.device)
        positions = self.positions(places_from_end(lengths, steps, self.positions.num_embeddings))
        x = self.dropout(self.entry_norm(vectors + positions))
        # Right padding comes after every real position: the causal mask alone hides it.
        visible = None if self.causal else (steps < lengths[:, None])[:, None, None, :]
        *first, last = self.blocks
        with mixed_precision(self, x.device):
            for block in first:
                x = block(x, visible)
            if at is None:
                x = last(x, visible)
            else:
                places = (at % steps.shape[0])[:, None]
                seen = steps <= places if visible is None else visible[at // steps.shape[0]].flatten(1)
                x = last(x, seen[:, None, None, :], at)
        return self.exit_norm(x.float())  # type: ignore[no-any-return]


class SASRecBackbone(TransformerBackbone):
    """Causal: each position is read from what comes before it."""

    block = Block


class WideBlock(Block):
    """The block of BERT4Rec and BSARec, whose feed-forward network is four times as wide."""

    expansion = 4


class BERT4RecBackbone(TransformerBackbone):
    """Bidirectional: masked items are read from both sides."""

    block = WideBlock
    objective = "cloze"
    causal = False


def places_from_end(lengths: torch.Tensor, steps: torch.Tensor, most: int) -> torch.Tensor:
    """Positions of the steps of sequences padded on the right, int64 `[B, T]`; the last step has ``most - 1``.

    Counting from the end, the next item is always predicted at the same position. Padding has the last step's.
    """
    return (most - lengths[:, None] + steps).clamp(max=most - 1)
