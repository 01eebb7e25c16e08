"""The HID backbones alone: SASRec, BERT4Rec, GRU4Rec, cold or warm-started."""

import torch
from torch import nn

from h2rec.batching.sequences import Objective
from h2rec.models.backbones import make_backbone
from h2rec.models.protocol import BranchVectors, UserStates, positions_read, read
from h2rec.models.scoring import item_side, user_side
from h2rec.models.settings import ModelSettings

COLD_STD = 0.02
"""Standard deviation of item vectors that start cold."""


class HidModel(nn.Module):
    """One learned vector per item and one backbone."""

    branches: tuple[str, ...] = ("hid",)

    def __init__(self, settings: ModelSettings, backbone: str, item_count: int) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = item_count
        self.max_length = settings.max_length
        self.hid = hid_table(item_count, settings.dim)
        self.hid_encoder = make_backbone(backbone, settings)
        self.objective, self.mask_item = reading_of(backbone, settings, item_count)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` and read `n` positions."""
        states = read(self.hid_encoder(self.hid(items), lengths), positions_read(reads))
        return UserStates((user_side(states, self.settings.score),))

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, one tensor `[M, d]`."""
        return (item_side(self.hid(items), self.settings.score),)


def hid_table(item_count: int, dim: int) -> nn.Embedding:
    """Return the table H with a padding row in front and a row for the masked item at the end."""
    table = nn.Embedding(item_count + 2, dim, padding_idx=0)
    nn.init.normal_(table.weight, std=COLD_STD)
    with torch.no_grad():
        table.weight[0].zero_()
    return table


def reading_of(backbone: str, settings: ModelSettings, item_count: int) -> tuple[Objective, int | None]:
    """What a model predicts in training, and its masked item's index if it has one."""
    if backbone == "bert4rec":
        return "cloze", item_count + 1
    one_target = settings.name == "h2rec" and settings.branches != "hid" and settings.intent == "last"
    return ("last" if one_target else "next"), None
