"""Layers of an encoder and of a decoder as in T5 (arXiv 1910.10683): biases of distances, no other biases."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from h2rec.models.backbones.dropout import Dropout
from h2rec.models.backbones.precision import Mixed, mixed_precision

HEAD = 64
"""Width of an attention head."""
INNER = 8
"""Inner width of a feed-forward layer, as a multiple of the width."""
BUCKETS, FARTHEST = 32, 128
"""Distances of tokens that have a bias of their own, and from where on all have one (T5)."""

KeyValue = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of tokens, `[.., heads, l, HEAD]` each."""


class Layers(Mixed):
    """Self-attention and feed-forward layers, normalised before each, and what encoder and decoder share of them."""

    def __init__(self, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.bias = nn.Embedding(BUCKETS, heads)
        nn.init.normal_(self.bias.weight, std=0.02)
        self.dropout = Dropout(dropout)
        self.own = nn.ModuleList(Attention(dim, heads) for _ in range(layers))
        self.inner = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(dim),
                nn.Linear(dim, INNER * dim, bias=False),
                nn.ReLU(),
                Dropout(dropout),
                nn.Linear(INNER * dim, dim, bias=False),
            )
            for _ in range(layers)
        )
        self.norm = nn.RMSNorm(dim)

    def biases(self, distance: torch.Tensor, *, causal: bool) -> torch.Tensor:
        """Biases `[heads, l, m]` of keys at distances `[l, m]` from queries."""
        return self.bias(buckets(distance, causal=causal)).permute(2, 0, 1)  # type: ignore[no-any-return]


class Encoder(Layers):
    """Reads tokens in blocks: each sees its own block and all before it."""

    def forward(self, entry: torch.Tensor, block: int) -> torch.Tensor:
        """Tokens `[B, S, d]`, in blocks of `block`, encoded."""
        places = torch.arange(entry.shape[1], device=entry.device)
        later = places // block > places[:, None] // block
        mask = self.biases(places - places[:, None], causal=False).masked_fill(later, -torch.inf)
        state = self.dropout(entry)
        with mixed_precision(self, entry.device):
            for own, inner in zip(attentions(self.own), self.inner, strict=True):
                asked = own.norm(state)
                state = state + self.dropout(own.read(own.asked(asked), own.told(asked), mask))
                state = state + self.dropout(inner(state))
        return self.dropout(self.norm(state))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Memory:
    """Encoded tokens of `B` histories, as the layers of a decoder read them."""

    told: list[KeyValue]
    """Keys and values for each layer, `[B, heads, S, HEAD]`."""
    mask: torch.Tensor
    """What is added to the logits of each of `W` places of a history, `[B, heads, W, S]`, or 1 in place of B or W."""


class Decoder(Layers):
    """Reads each of many short lists of tokens, and a memory; what was read of a list before is not read again."""

    def __init__(self, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__(dim, layers, heads, dropout)
        self.memory = nn.ModuleList(Attention(dim, heads) for _ in range(layers))
        # From a head that sees little but the end to one that hardly knows it (as in ALiBi, arXiv 2108.12409).
        slopes = 2.0 ** -torch.arange(1, heads + 1)
        self.from_end = nn.Embedding.from_pretrained(-slopes * torch.arange(BUCKETS)[:, None], freeze=False)

    def remember(self, encoded: torch.Tensor, ends: torch.Tensor) -> Memory:
        """Encoded tokens `[B, S, d]`, of which the `W` places of each history see those before `ends`, `[B, W]`.

        A causal encoder can't tell a token how far it is from the end. So here, unlike in T5, this distance has a bias.
        """
        distance = torch.arange(encoded.shape[1], device=encoded.device) - ends[..., None]
        mask = self.from_end(buckets(distance, causal=True)).permute(0, 3, 1, 2)
        mask = mask.masked_fill(distance[:, None] >= 0, -torch.inf)
        with mixed_precision(self, encoded.device):
            return Memory([layer.told(encoded) for layer in attentions(self.memory)], mask)

    def forward(
        self,
        entry: torch.Tensor,
        memory: Memory,
        at: tuple[torch.Tensor, torch.Tensor, int],
        past: list[KeyValue] | None = None,
    ) -> tuple[torch.Tensor, list[KeyValue]]:
        """States of the next `l` tokens of `Z` lists, `[Z, l, d]`, and keys and values of all tokens up to them.

        `entry`: the tokens, `[Z, l, d]`. `at`: the history that each list reads, and a place of its own there, int64
        `[Z]` both; W, how many places there are. `past`: keys and values of the tokens before, for each layer.
        """
        rows, places, width = at
        known = 0 if past is None else past[0][0].shape[-2]
        count, length = entry.shape[:2]
        keys = torch.arange(known + length, device=entry.device)
        distance = keys - keys[known:, None]
        mask = self.biases(distance, causal=True).masked_fill(distance > 0, -torch.inf)
        # Lists of one history side by side: their tokens are the queries of one attention.
        far = memory.mask if memory.mask.shape[2] == 1 else memory.mask.repeat_interleave(length, dim=2)
        state, now = self.dropout(entry), []
        layers = zip(attentions(self.own), attentions(self.memory), self.inner, strict=True)
        with mixed_precision(self, entry.device):
            for layer, (own, other, inner) in enumerate(layers):
                asked = own.norm(state)
                told = own.told(asked)
                if past is not None:
                    told = (
                        torch.cat([past[layer][0], told[0]], dim=-2),
                        torch.cat([past[layer][1], told[1]], dim=-2),
                    )
                now.append(told)
                state = state + self.dropout(own.read(own.asked(asked), told, mask))
                asked = other.asked(other.norm(state))  # [Z, heads, l, HEAD]
                key, value = memory.told[layer]
                query = asked.new_zeros(len(key), width, length, *asked.shape[1::2])
                query[rows, places] = asked.transpose(1, 2)
                heard = other.read(query.flatten(1, 2).transpose(1, 2), (key, value), far)
                heard = heard.view(len(key), width, length, -1)[rows, places]
                state = state + self.dropout(heard)
                state = state + self.dropout(inner(state))
        return self.dropout(self.norm(state)).view(count, length, -1), now


class Attention(nn.Module):
    """Attention of heads of `HEAD` each."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(dim)
        self.query = nn.Linear(dim, heads * HEAD, bias=False)
        self.key_value = nn.Linear(dim, 2 * heads * HEAD, bias=False)
        self.out = nn.Linear(heads * HEAD, dim, bias=False)

    def asked(self, states: torch.Tensor) -> torch.Tensor:
        """Queries of states `[B, l, d]`, `[B, heads, l, HEAD]`."""
        return self.query(states).unflatten(-1, (self.heads, HEAD)).transpose(1, 2)  # type: ignore[no-any-return]

    def told(self, states: torch.Tensor) -> KeyValue:
        """Keys and values of states `[B, m, d]`."""
        key, value = self.key_value(states).unflatten(-1, (2, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        return key, value

    def read(self, query: torch.Tensor, told: KeyValue, mask: torch.Tensor) -> torch.Tensor:
        """What queries read of keys and values, `[B, l, d]`; `mask` is added to the logits, or says what is read."""
        read = F.scaled_dot_product_attention(query, *told, attn_mask=mask)
        return self.out(read.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def attentions(layers: nn.ModuleList) -> list[Attention]:
    """The layers, typed."""
    return [layer for layer in layers if isinstance(layer, Attention)]


def buckets(distance: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Number of each distance: near ones have their own, far ones share on a scale of logarithms (T5)."""
    count = BUCKETS if causal else BUCKETS // 2
    side = 0 if causal else (distance > 0).long() * count
    away = (-distance).clamp(min=0) if causal else distance.abs()
    exact = count // 2
    far = exact + ((away.clamp(min=1) / exact).log() / math.log(FARTHEST / exact) * (count - exact)).long()
    return side + torch.where(away < exact, away, far.clamp(max=count - 1))
