"""The fusion network: how much of each granularity the user's intent asks for (H2Rec, multi-granularity fusion)."""

import torch
from torch import nn

from h2rec.models.code_table import CodeTable, weighted_sum


class FusionNetwork(nn.Module):
    """``alpha = softmax(MLP([e^1; ..; e^L]))`` over the levels.

    The first layer is linear in the concatenated code vectors, so it is applied to the tables once and
    summed over an item's codes, instead of to every token.
    """

    def __init__(self, levels: int, dim: int) -> None:
        super().__init__()
        self.level_weights = nn.Parameter(torch.empty(levels, dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.out = nn.Linear(dim, levels)
        nn.init.normal_(self.level_weights, std=(levels * dim) ** -0.5)
        # Equal weights at first: the network departs from the plain mean only where that pays.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

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


def intent_features(
    features: torch.Tensor, items: torch.Tensor, lengths: torch.Tensor, source: str, mask_item: int | None
) -> torch.Tensor:
    """Bring to each position the features that its alpha is read from.

    Parameters
    ----------
    features
        `[B, T, d]`, of each position's own item.
    source
        ``causal``: the position's own item (or, at a masked position, the last visible one before it).
        ``last``: the last item of the sequence, at every position (the paper).
        ``mean``: the mean over the history up to the position.

    Returns
    -------
    torch.Tensor
        `[B, T, d]`, or `[B, 1, d]` for ``last``.
    """
    if source == "last":
        last = (lengths - 1)[:, None, None].expand(-1, 1, features.shape[-1])
        return features.gather(1, last)
    steps = torch.arange(items.shape[1], device=items.device)
    if source == "mean":
        return features.cumsum(1) / (steps + 1)[:, None]
    if mask_item is None:
        return features
    visible = torch.where(items != mask_item, steps, -1).cummax(1).values
    # Where nothing precedes a masked first item, its own (mask) features say just that.
    visible = torch.where(visible < 0, steps, visible)
    return features.gather(1, visible[..., None].expand_as(features))
