"""Layers of an encoder and of a decoder as in T5 (arXiv 1910.10683): biases of distances, no other biases."""

import math

import torch
from torch import nn
from torch.nn import functional as F

HEAD = 64
"""Width of an attention head."""
INNER = 8
"""Inner width of a feed-forward layer, as a multiple of the width."""
BUCKETS, FARTHEST = 32, 128
"""Distances of tokens that have a bias of their own, and from where on all have one (T5)."""


class Stack(nn.Module):
    """Layers of self-attention, attention to a memory where there is one, and feed-forward, normalised before each."""

    def __init__(self, dim: int, layers: int, heads: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.bias = nn.Embedding(BUCKETS, heads)
        nn.init.normal_(self.bias.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.own = nn.ModuleList(Attention(dim, heads) for _ in range(layers))
        self.memory = nn.ModuleList(Attention(dim, heads) for _ in range(layers * int(causal)))
        self.inner = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(dim),
                nn.Linear(dim, INNER * dim, bias=False),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(INNER * dim, dim, bias=False),
            )
            for _ in range(layers)
        )
        self.norm = nn.RMSNorm(dim)

    def forward(
        self,
        entry: torch.Tensor,
        seen: torch.Tensor | None,
        memory: torch.Tensor | None = None,
        memory_seen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Entry `[B W, l, d]`, of which what is not `seen`, bool `[B W, l]`, is not read; memory `[B, S, d]`."""
        length = entry.shape[1]
        places = torch.arange(length, device=entry.device)
        distance = places - places[:, None]  # of the key from the query
        mask = self.bias(buckets(distance, causal=self.causal)).permute(2, 0, 1)[None]
        if self.causal:
            mask = mask.masked_fill(distance > 0, -torch.inf)
        if seen is not None:
            mask = mask.masked_fill(~seen[:, None, None], -torch.inf)
        read = None if memory_seen is None else memory_seen[:, None, None]
        state = self.dropout(entry)
        for place, (own, inner) in enumerate(zip(self.own, self.inner, strict=True)):
            state = state + self.dropout(own(state, None, mask))
            if memory is not None:
                # All paths of a history side by side as the queries of one attention.
                asking = state.reshape(len(memory), -1, state.shape[-1])
                state = state + self.dropout(self.memory[place](asking, memory, read)).view(state.shape)
            state = state + self.dropout(inner(state))
        return self.dropout(self.norm(state))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention of heads of `HEAD` each, normalised before; over itself where there is no memory."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(dim)
        self.query = nn.Linear(dim, heads * HEAD, bias=False)
        self.key_value = nn.Linear(dim, 2 * heads * HEAD, bias=False)
        self.out = nn.Linear(heads * HEAD, dim, bias=False)

    def forward(
        self, asking: torch.Tensor, memory: torch.Tensor | None, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`[B, l, d]` reading itself or a memory `[B, S, d]`; `mask` is added to the logits, or says what is read."""
        asking = self.norm(asking)
        query = self.query(asking).unflatten(-1, (self.heads, HEAD)).transpose(1, 2)
        both = self.key_value(asking if memory is None else memory).unflatten(-1, (2, self.heads, HEAD))
        key, value = both.permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(read.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def buckets(distance: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Number of each distance: near ones have their own, far ones share on a scale of logarithms (T5)."""
    count = BUCKETS if causal else BUCKETS // 2
    side = 0 if causal else (distance > 0).long() * count
    away = (-distance).clamp(min=0) if causal else distance.abs()
    exact = count // 2
    far = exact + ((away.clamp(min=1) / exact).log() / math.log(FARTHEST / exact) * (count - exact)).long()
    return side + torch.where(away < exact, away, far.clamp(max=count - 1))
