"""Items like a user's latest ones: by their texts, or by the vectors that the branches beside it learned."""

import logging
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field

from h2rec.batching.transitions import TransitionTable
from h2rec.models.branches.protocol import Branch
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.transitions import CountedSettings, TransitionsBranch, stored_table
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.likeness import alike
from h2rec.models.settings import BranchModelSettings

logger = logging.getLogger(__name__)

NEAREST = 20
"""Items that are like one: what is further off says little, and costs."""


class SimilarSettings(CountedSettings):
    """What similar items weigh."""

    weight: float = Field(0.5, ge=0)
    """Weight of its score in the sum, chosen on validation."""


class SimilarTextBranch(TransitionsBranch):
    """``log(1 + s * sum_m q^m t(i_m -> j))`` over the latest items ``i_m`` of a history, as for transitions.

    ``t(i -> j)`` is the share of `j` among the `NEAREST` texts to that of `i`, by a softmax of their cosines: how
    much an item is like another one counts against what else is like it. Of large catalogues the nearest are found but
    for some (`alike`). An item is as much like itself as like the nearest one, which counts where users get items
    again. Items without text are like nothing; in a catalogue without any text all score 0.
    """

    settings_class: ClassVar[type[BranchSettings]] = SimilarSettings
    reads_text = True
    form = 3  # it was a cosine, then nothing was like itself
    scale = 300.0

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        """See `Branch.build`."""
        size, text = features.item_count + 1, features.text
        table = stored_table(features, size)
        if table is None:
            table = TransitionTable.empty(size)
            if features.train is not None:
                described = np.flatnonzero(features.described & (text is not None and text.any(axis=1)))
                if text is None or len(described) < 2:
                    logger.warning("the items have no texts to compare: similar_text scores nothing")
                else:
                    table = alike(text[described], described + 1, size, NEAREST)
        return cls(settings, table, "similar_text")

    def grow(self, smaller: Self, new: NewItems) -> None:
        """New items are like what their neighbours are like, and most like these."""
        near = new.neighbours
        self.table = smaller.table.joined(near.items + 1, near.shares, near.trained).with_themselves()

    def recount(self, features: ItemFeatures) -> None:
        """Nothing of it was counted."""


class SimilarVectorsBranch(SimilarTextBranch):
    """The same of the `NEAREST` items whose learned vectors are nearest: those that stand in like histories.

    The vectors are those by which the branches that a ranking loss trained score items, side by side, of the items of
    training histories. There are none before the training has ended: until then all score 0.
    """

    reads_text, reads_vectors = False, True
    form = 4  # it was the nearest 50

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        """See `Branch.build`."""
        size = features.item_count + 1
        return cls(settings, stored_table(features, size) or TransitionTable.empty(size), "similar_vectors")

    def after_training(self, learned: Sequence[Branch], features: ItemFeatures) -> None:
        """See `Branch.after_training`. What was added and is in no history yet keeps what its neighbours lent it."""
        if not learned:
            return
        counts = features.train_counts
        seen = np.flatnonzero(counts[1:] > 0) + 1 if counts is not None else np.zeros(0, np.int64)
        with torch.no_grad():
            items = torch.from_numpy(seen).to(self.offsets.device)
            vectors = torch.cat([branch.items(items).vectors() for branch in learned], dim=1).float().cpu()
        # One vector that is no number would leave none, and a vector of length 0 is near to nothing.
        compared = (vectors.isfinite().all(dim=1) & vectors.any(dim=1)).numpy()
        if compared.sum() > 1:
            size = len(self.offsets) - 1
            table = alike(vectors.numpy()[compared], seen[compared], size, NEAREST)
            self.table = table.with_others_of(self.table)
