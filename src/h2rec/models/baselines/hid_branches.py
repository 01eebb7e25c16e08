"""Two HID branches: the control that any two-branch claim needs.

Two backbones that differ in the seed alone, each trained by its own ranking loss, their scores added. Whatever a
second branch with another view of the items gains must be more than what a second seed gains. Where H2Rec's branches of
codes have a dropout and a temperature of their own, so has the first branch here.
"""

import torch
from torch import nn

from h2rec.models.hid import HidModel
from h2rec.models.protocol import BranchVectors, UserStates
from h2rec.models.settings import ModelSettings


class TwoHid(nn.Module):
    """Two `HidModel`s side by side; nothing is shared but the batches."""

    branches: tuple[str, ...] = ("first", "second")
    independent: bool = True
    """The objective trains each branch by its own loss and the joint score by none."""

    def __init__(self, settings: ModelSettings, item_count: int) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = item_count
        self.max_length = settings.max_length
        self.first = HidModel(settings.of_codes, settings.backbone, item_count)
        self.second = HidModel(settings, settings.backbone, item_count)
        self.objective, self.mask_item = self.first.objective, self.first.mask_item

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` twice and read `n` positions of each."""
        one, other = self.first(items, lengths, reads), self.second(items, lengths, reads)
        return UserStates((*one.vectors, *other.vectors))

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, `[M, d]` of each branch."""
        return (*self.first.item_vectors(items), *self.second.item_vectors(items))
