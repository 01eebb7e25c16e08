"""The fusion network: weights of the granularities by the user's intent (H2Rec, multi-granularity fusion)."""

import torch
from torch import nn

from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.models.ties.settings import FusionName, IntentName


class FusionNetwork(nn.Module):
    """``alpha = softmax(MLP([e^1; ..; e^L]))`` over the levels.

    The first layer is linear in the concatenated code vectors: it is applied once to the tables and summed over the
    codes of an item, not to every token.

    `fusion`: ``adaptive``: alpha from an item. ``equal``: fixed and equal. ``mean_history``: from the mean of the
    history.
    `intent`: ``causal``: read at each position. ``last``: once, from the last item (the paper).
    """

    def __init__(self, levels: int, dim: int, fusion: FusionName, intent: IntentName) -> None:
        super().__init__()
        self.fusion = fusion
        self.intent = intent
        self.level_weights = nn.Parameter(torch.empty(levels, dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.out = nn.Linear(dim, levels)
        nn.init.normal_(self.level_weights, std=(levels * dim) ** -0.5)
        # Starts at equal weights, the plain mean.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def alpha(
        self,
        table: CodeTable,
        rows: torch.Tensor,
        items: torch.Tensor,
        lengths: torch.Tensor,
        mask_item: int | None,
    ) -> torch.Tensor:
        """Weights of the levels at every position, `[B, T, L]`, for rows `[B, T, L]` of the items `[B, T]`."""
        if self.fusion == "equal":
            return rows.new_full(rows.shape, 1 / table.levels, dtype=table.vectors.dtype)
        features = self.features(table, rows)
        if self.fusion == "mean_history":
            features = running_mean(features)
        if self.intent == "last":
            features = at_last(features, lengths)
        elif self.fusion != "mean_history" and mask_item is not None:
            features = at_visible(features, items, mask_item)
        return self(features).expand(rows.shape).contiguous()  # type: ignore[no-any-return]

    def features(self, table: CodeTable, rows: torch.Tensor) -> torch.Tensor:
        """First layer before its nonlinearity: rows `[..., L]` to `[..., d]`."""
        levels = table.by_level(table.vectors)
        projected = torch.cat(
            [level @ weight for level, weight in zip(levels, self.level_weights, strict=True)]
        )
        return weighted_sum(rows, None, projected) + self.bias

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Weights of the levels, `[..., L]`, for features `[..., d]`."""
        return self.out(torch.relu(features)).softmax(-1)  # type: ignore[no-any-return]


def at_last(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Features `[B, T, d]` of the last item of each sequence, `[B, 1, d]` (the paper)."""
    last = (lengths - 1)[:, None, None].expand(-1, 1, features.shape[-1])
    return features.gather(1, last)


def running_mean(features: torch.Tensor) -> torch.Tensor:
    """Mean of the features `[B, T, d]` over the history up to each position."""
    steps = torch.arange(features.shape[1], device=features.device)
    return features.cumsum(1) / (steps + 1)[:, None]


def at_visible(features: torch.Tensor, items: torch.Tensor, mask_item: int) -> torch.Tensor:
    """Features `[B, T, d]` of each position's own item or, at a masked one, of the last visible item before it."""
    steps = torch.arange(items.shape[1], device=items.device)
    visible = torch.where(items != mask_item, steps, -1).cummax(1).values
    # A masked first item has nothing before it, and keeps its own (mask) features.
    visible = torch.where(visible < 0, steps, visible)
    return features.gather(1, visible[..., None].expand_as(features))
