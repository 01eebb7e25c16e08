"""Several HID branches: the control that any claim of several branches needs.

Backbones that differ in the seed alone, each trained by its own ranking loss, their scores added. Whatever a branch
with another view of the items gains must be more than what another seed gains: two branches beside H2Rec's two, three
beside its three. What H2Rec may choose the control may, too: where branches of codes have a dropout, a temperature
or a learning rate of their own, so has the first branch here; the weights of all but the last, and one of popularity if
asked for, are chosen on validation.
"""

import torch
from torch import nn

from h2rec.data.histories import IntArray
from h2rec.models.hid import HidModel
from h2rec.models.identity import PopularityPrior
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
    train_counts
        Training interactions of each item, `[N + 1]`: what a weight of popularity weighs.
    """

    independent: bool = True
    """The objective trains each branch by its own loss and the joint score by none."""

    def __init__(
        self, settings: ModelSettings, item_count: int, count: int, train_counts: IntArray | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = item_count
        self.max_length = settings.max_length
        self.branches: tuple[str, ...] = NAMES[:count]
        self.branch_weights = (*settings.score.hid_weights[: count - 1], 1.0)
        for name in self.branches:
            of_branch = settings.of_codes if name == "first" else settings
            self.add_module(name, HidModel(of_branch, settings.backbone, item_count))
        self._models: tuple[HidModel, ...] = tuple(getattr(self, name) for name in self.branches)
        first = self._models[0]
        self.objective, self.mask_item = first.objective, first.mask_item
        if settings.score.popularity:
            self.branches += ("popularity",)
            self.branch_weights += (settings.score.popularity,)
            self.popularity = PopularityPrior(item_count, train_counts, settings.score.popularity)

    @property
    def modules_of_codes(self) -> tuple[nn.Module, ...]:
        """What learns as branches of codes do: the first branch."""
        return (self._models[0],)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` once a branch and read `n` positions of each."""
        users = [model(items, lengths, reads).vectors[0] for model in self._models]
        # What popularity weighs, the last of the weights, stands in its own vectors.
        weighed = tuple(user * w for user, w in zip(users, self.branch_weights, strict=False))
        if self.settings.score.popularity:
            weighed += (self.popularity.user(weighed[0]),)
        return UserStates(weighed)

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, `[M, d]` of each branch."""
        vectors = tuple(model.item_vectors(items)[0] for model in self._models)
        return (*vectors, self.popularity.item(items)) if self.settings.score.popularity else vectors
