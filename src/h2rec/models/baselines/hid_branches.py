"""Several HID branches: the control that any claim of several branches needs.

Backbones that differ in the seed alone, each trained by its own ranking loss, their scores added. Whatever a branch
with another view of the items gains must be more than what another seed gains: two branches beside H2Rec's two, three
beside its three. What H2Rec may choose the control may, too: where branches of codes have a dropout, a temperature
or a learning rate of their own, so has the first branch here, and the weights of all but the last are chosen on
validation.
"""

import torch
from torch import nn

from h2rec.models.hid import HidModel
from h2rec.models.protocol import BranchVectors, UserStates
from h2rec.models.settings import ModelSettings

NAMES = ("first", "second", "third")


class HidBranches(nn.Module):
    """`HidModel`s side by side; nothing is shared but the batches.

    Parameters
    ----------
    settings
        Of all branches; the first one takes them as branches of codes would.
    item_count
        N.
    count
        Number of branches, two or three.
    """

    independent: bool = True
    """The objective trains each branch by its own loss and the joint score by none."""

    def __init__(self, settings: ModelSettings, item_count: int, count: int) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = item_count
        self.max_length = settings.max_length
        self.branches: tuple[str, ...] = NAMES[:count]
        self.branch_weights = (*settings.score.hid_weights[: count - 1], 1.0)
        for name in self.branches:
            of_branch = settings.of_codes if name == "first" else settings
            self.add_module(name, HidModel(of_branch, settings.backbone, item_count))
        first = self._models[0]
        self.objective, self.mask_item = first.objective, first.mask_item

    @property
    def modules_of_codes(self) -> tuple[nn.Module, ...]:
        """What learns as branches of codes do: the first branch."""
        return (self._models[0],)

    @property
    def _models(self) -> tuple[HidModel, ...]:
        return tuple(getattr(self, name) for name in self.branches)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` once a branch and read `n` positions of each."""
        users = [model(items, lengths, reads).vectors[0] for model in self._models]
        return UserStates(tuple(user * w for user, w in zip(users, self.branch_weights, strict=True)))

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, `[M, d]` of each branch."""
        return tuple(model.item_vectors(items)[0] for model in self._models)
