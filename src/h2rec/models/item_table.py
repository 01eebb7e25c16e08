"""Tables that make an item a vector, and the plainest of them: one learned vector an item."""

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import nn

from h2rec.models.features import NewItems
from h2rec.models.row_shards import RowShards
from h2rec.models.warm_start import COLD_STD, TextStart, start_rows


class ItemTable(nn.Module, ABC):
    """Vectors of items: indices `[...]` (0 is padding, ``N + 1`` the masked item) to `[..., d]`."""

    @abstractmethod
    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items."""

    def spread(self) -> None:
        """Keep this worker's share of the rows that are one an item (`RowShards`), where there are any."""

    def start(self, text: TextStart) -> None:
        """Start from the items' text."""

    @abstractmethod
    def grow(self, smaller: Any, new: NewItems) -> None:
        """Take over the weights of a table over fewer items, and place the new items behind them."""


class IdTable(ItemTable):
    """One learned vector an item, ``H[v]``: the hash ID."""

    def __init__(self, item_count: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(item_count + 2, dim, padding_idx=0)
        nn.init.normal_(self.vectors.weight, std=COLD_STD)
        with torch.no_grad():
            self.vectors.weight[0].zero_()

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.vectors(items)  # type: ignore[no-any-return]

    def spread(self) -> None:
        self.vectors = RowShards(self.vectors)

    def start(self, text: TextStart) -> None:
        start_rows(self.vectors.weight, text.vectors)

    def grow(self, smaller: Self, new: NewItems) -> None:
        with torch.no_grad():
            self.vectors.weight.copy_(new.learned_rows(smaller.vectors.weight))
