"""Similarity of texts: how near an item's text is to those of a user's latest items; nothing is learned."""

import logging
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from h2rec.models.branch_items import DenseItems
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.transitions import RECENT_DECAY, RECENT_ITEMS
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.neighbours import Vectors
from h2rec.models.protocol import Intent
from h2rec.models.reasons import MOST_REASONS, Reason
from h2rec.models.settings import BranchModelSettings

logger = logging.getLogger(__name__)

COMPONENTS = 64
"""Principal components of the text embeddings that are compared: 64 of 256 keep nearly all of what the branch gives."""
SCALE = 3.0
"""Scores at weight 1 lie between minus and plus this, so that the weights to try are those of the other branches."""


class SimilarTextSettings(BranchSettings):
    """What similar texts weigh."""

    weight: float = Field(0.5, ge=0)
    """Weight of its score in the sum, chosen on validation."""


class SimilarTextBranch(Branch):
    """``s * cos(sum_m q^m t(i_m), t(j))`` over the latest items ``i_m`` of a history.

    `t` are text embeddings on their first principal components, of unit length; zero for items without text. In a
    catalogue without any text all items score 0.
    """

    settings_class: ClassVar[type[BranchSettings]] = SimilarTextSettings
    reads_text = True
    is_trained = False
    vectors: torch.Tensor
    mean: torch.Tensor
    components: torch.Tensor

    def __init__(
        self, settings: BranchSettings, vectors: torch.Tensor, mean: torch.Tensor, components: torch.Tensor
    ) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("vectors", vectors)  # [N + 2, c]: padding first, the masked item last
        self.register_buffer("mean", mean)  # [m]
        self.register_buffer("components", components)  # [c, m]

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        """See `Branch.build`."""
        if "vectors" in features.stored:
            parts = (torch.zeros_like(features.stored[n]) for n in ("vectors", "mean", "components"))
            return cls(settings, *parts)
        described = features.described
        if features.train is None or features.text is None or described.sum() < 2:
            if features.train is not None:
                logger.warning("the items have no texts to compare: similar_text scores nothing")
            return cls(settings, torch.zeros(features.item_count + 2, 0), torch.zeros(0), torch.zeros(0, 0))
        from sklearn.decomposition import PCA  # imported late: a second, and serving never needs it

        text = features.text[described].astype(np.float64)
        pca = PCA(min(COMPONENTS, *text.shape), svd_solver="covariance_eigh")
        with np.errstate(invalid="ignore"):  # embeddings without any variance have no shares of it
            pca.fit(text)
        mean = torch.from_numpy(pca.mean_).float()
        components = torch.from_numpy(pca.components_).float().contiguous()
        vectors = torch.zeros(features.item_count + 2, len(components))
        known = torch.from_numpy(np.flatnonzero(described) + 1)
        vectors[known] = projected(features.text[described], mean, components)
        return cls(settings, vectors, mean, components)

    def forward(self, sequences: Sequences, intent: Intent | None) -> BranchRead:
        """Directions of the latest texts at the positions read, by weight and scale."""
        at, back = sequences.at[:, None], torch.arange(RECENT_ITEMS, device=sequences.at.device)
        # Before the first item there is padding, whose vector is zero.
        known = at % sequences.items.shape[1] >= back
        items = sequences.items.flatten()[(at - back).clamp(min=0)] * known
        total = RECENT_DECAY**back @ self.vectors[items]
        return BranchRead(self.settings.weight * SCALE * F.normalize(total, dim=1))

    def items(self, items: torch.Tensor) -> DenseItems:
        return DenseItems(self.vectors[items])

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        """The latest items whose texts are nearest, by their shares of what speaks for the item."""
        latest = list(dict.fromkeys(reversed(history)))[:RECENT_ITEMS]
        if not items or not latest or not self.settings.weight:
            return [[] for _ in items]
        alike = (self.vectors[torch.tensor(items)] @ self.vectors[torch.tensor(latest)].T).clamp(min=0)
        shares = alike * RECENT_DECAY ** torch.arange(len(latest))
        shares /= shares.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        order = shares.argsort(dim=1, descending=True, stable=True)[:, :MOST_REASONS].tolist()
        return [
            [Reason(latest[p], "similar_text", of[p]) for p in places if of[p] > 0]
            for places, of in zip(order, shares.tolist(), strict=True)
        ]

    def grow(self, smaller: Self, new: NewItems) -> None:
        """New items by their own texts."""
        self.mean, self.components = smaller.mean, smaller.components
        rows = smaller.vectors.new_zeros(len(new), smaller.vectors.shape[1])
        if rows.numel():
            assert new.text is not None
            # One by one: an item has the same vector to the bit whatever it is added beside.
            rows = torch.cat([projected(text[None], self.mean, self.components) for text in new.text])
        self.vectors = torch.cat([smaller.vectors[:-1], rows, smaller.vectors[-1:]])


def projected(text: Vectors, mean: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
    """Text embeddings `[n, m]` on principal components `[c, m]`, of unit length, float32 `[n, c]`."""
    return F.normalize((torch.from_numpy(np.ascontiguousarray(text)) - mean) @ components.T, dim=1)
