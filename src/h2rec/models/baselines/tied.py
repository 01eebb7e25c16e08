"""One item table, one backbone: the frame of every baseline with a single view of the items.

As in SASRec, the vectors that a history enters with and those that targets are scored with are the same;
what the baselines differ in is what an item's vector is made of.
"""

import torch
from torch import nn

from h2rec.models.backbones import make_backbone
from h2rec.models.hid import reading_of
from h2rec.models.protocol import BranchVectors, UserStates, positions_read, read
from h2rec.models.scoring import item_side, user_side
from h2rec.models.settings import ModelSettings


class TiedModel(nn.Module):
    """A backbone over the vectors of an item table.

    Parameters
    ----------
    table
        Maps item indices `[...]` (0 is padding, ``N + 1`` the masked item) to vectors `[..., d]`.
    """

    branches: tuple[str, ...] = ("item",)

    def __init__(self, settings: ModelSettings, item_count: int, table: nn.Module) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = item_count
        self.max_length = settings.max_length
        self.objective, self.mask_item = reading_of(settings.backbone, settings, item_count)
        self.table = table
        self.encoder = make_backbone(settings.backbone, settings)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` and read `n` positions."""
        states = read(self.encoder(self.table(items), lengths), positions_read(reads))
        return UserStates((user_side(states, self.settings.score),))

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, one tensor `[M, d]`."""
        return (item_side(self.table(items), self.settings.score),)
