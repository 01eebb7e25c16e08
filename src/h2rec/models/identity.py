"""How much of an item's own identity counts, by what is known of it: beyond the paper, each a switch."""

import torch
from torch import nn

from h2rec.data.histories import IntArray


class ItemResidual(nn.Module):
    """A vector of its own for every item in the SID branch, shrunk the more the less is known of the item.

    Parameters
    ----------
    shrink
        An item with `c` training interactions keeps ``c / (c + shrink)`` of its residual.
    train_counts
        `[N + 1]`, padding first; None where weights are loaded later.
    """

    kept: torch.Tensor

    def __init__(self, item_count: int, dim: int, shrink: float, train_counts: IntArray | None) -> None:
        super().__init__()
        # Rows for padding and for the masked item, as in the HID table; both stay zero.
        self.table = nn.Embedding(item_count + 2, dim)
        nn.init.zeros_(self.table.weight)
        counts = _counts(item_count, train_counts)
        self.register_buffer("kept", counts / (counts + shrink).clamp(min=1e-12))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Shrunk residuals of items `[...]`, `[..., d]`."""
        return self.table(items) * self.kept[items][..., None]  # type: ignore[no-any-return]


class MaturityBalance(nn.Module):
    """Scales of the two branches as a learned function of the item's training count; both are 1 at first."""

    log_count: torch.Tensor

    def __init__(self, item_count: int, train_counts: IntArray | None) -> None:
        super().__init__()
        log_count = torch.log1p(_counts(item_count, train_counts))
        known = log_count[1:-1]
        self.register_buffer("log_count", (log_count - known.mean()) / known.std().clamp(min=1e-6))
        self.slope = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales of the SID and of the HID branch for items `[M]`, `[M, 1]` each, adding up to 2."""
        hid = 2 * torch.sigmoid(self.bias + self.slope * self.log_count[items])[:, None]
        return 2 - hid, hid


class PopularityPrior(nn.Module):
    """A branch that knows how often an item was trained on and nothing of the user: ``log(1 + c)``, weighed."""

    log_count: torch.Tensor

    def __init__(self, item_count: int, train_counts: IntArray | None, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("log_count", torch.log1p(_counts(item_count, train_counts)))

    def user(self, vectors: torch.Tensor) -> torch.Tensor:
        """The weight, `[n, 1]`, for as many users as have vectors `[n, D]`."""
        return vectors.new_full((vectors.shape[0], 1), self.weight)

    def item(self, items: torch.Tensor) -> torch.Tensor:
        """``log(1 + c)`` of items `[M]`, `[M, 1]`."""
        return self.log_count[items][:, None]


def _counts(item_count: int, train_counts: IntArray | None) -> torch.Tensor:
    counts = torch.zeros(item_count + 2)
    if train_counts is not None:
        counts[: item_count + 1] = torch.from_numpy(train_counts).float()
    return counts
