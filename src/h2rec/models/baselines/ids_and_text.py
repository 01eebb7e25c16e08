"""SASRec + text: an item is its hash ID plus a linear map of its frozen text embedding.

The plain way to give a sequence model its items' text; UniSRec (arXiv 2206.05941) and others report it as the
baseline with text features.
"""

from typing import Self

import numpy as np
import torch
from torch import nn

from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.tables import TableBranch
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.item_table import IdTable, ItemTable
from h2rec.models.settings import BranchModelSettings
from h2rec.models.warm_start import TextStart


class IdsAndText(ItemTable):
    """``h_v + W t_v``.

    `text`: text embeddings by item index, `[N + 2, m]`; never trained.
    """

    text: torch.Tensor

    def __init__(self, text: torch.Tensor, dim: int) -> None:
        super().__init__()
        self.ids = IdTable(len(text) - 2, dim)
        self.register_buffer("text", text)
        self.project = nn.Linear(text.shape[1], dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.ids(items) + self.project(self.text[items])  # type: ignore[no-any-return]

    def start(self, text: TextStart) -> None:
        self.ids.start(text)

    def grow(self, smaller: Self, new: NewItems) -> None:
        self.ids.grow(smaller.ids, new)
        self.project.load_state_dict(smaller.project.state_dict())
        self.text.copy_(grown_text(smaller.text, new))


class IdsAndTextBranch(TableBranch):
    """A backbone over hash IDs and text in one vector."""

    reads_text = True

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        text = stored_text(features, "table.text", "a branch of ids and text")
        return cls(settings, model, IdsAndText(text, model.dim))


def stored_text(features: ItemFeatures, name: str, needed_by: str) -> torch.Tensor:
    """Frozen text by item index, `[N + 2, m]`, zero for padding (first) and the masked item (last).

    Zeros where the weights will be loaded.
    """
    if name in features.stored:
        return torch.zeros_like(features.stored[name])
    text = np.ascontiguousarray(features.require_text(needed_by))
    return nn.functional.pad(torch.from_numpy(text), (0, 0, 1, 1))


def grown_text(before: torch.Tensor, new: NewItems) -> torch.Tensor:
    """Frozen text `[N + 2, m]` with that of new items behind the known ones."""
    assert new.text is not None
    return torch.cat([before[:-1], torch.from_numpy(new.text), before[-1:]])
