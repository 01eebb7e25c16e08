"""Similarity of texts: which items' texts are nearest to those of a user's latest items; nothing is learned."""

import logging
from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from h2rec.batching.transitions import TransitionTable
from h2rec.data.histories import IntArray
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.transitions import CountedSettings, TransitionsBranch, stored_table
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.neighbours import Vectors
from h2rec.models.settings import BranchModelSettings

logger = logging.getLogger(__name__)

NEAREST = 20
"""Texts that are like one: what is further off says little, and costs."""
TEMPERATURE = 0.1
"""Of the shares: a cosine lower by this much counts e times less."""
ALL_UP_TO = 32_768
"""Texts that are compared with all others. Of more, each is compared with those of its own region and of the nearest
ones, which misses some, or the time would grow with the square of the catalogue."""
REGION, REGIONS = 4_096, 4
"""Texts of a region, about, twice as many at most, and how many regions are looked into."""
TIES = 1e-5
"""Up to so much chance is added to a cosine: of many equal texts each is near to others, not all to the same few."""
_AT_ONCE = 1_024


class SimilarTextSettings(CountedSettings):
    """What similar texts weigh."""

    weight: float = Field(0.5, ge=0)
    """Weight of its score in the sum, chosen on validation."""


class SimilarTextBranch(TransitionsBranch):
    """``log(1 + s * sum_m q^m t(i_m -> j))`` over the latest items ``i_m`` of a history, as for transitions.

    ``t(i -> j)`` is the share of `j` among the `NEAREST` texts to that of `i`, by a softmax of their cosines: how much
    an item is like another one counts against what else is like it. Of more than `ALL_UP_TO` texts the nearest are
    found but for some. An item is as much like itself as like the nearest one, which counts where users get items
    again. Items without text are like nothing; in a catalogue without any text all score 0.
    """

    settings_class: ClassVar[type[BranchSettings]] = SimilarTextSettings
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
                    table = alike(text[described], described + 1, size).with_themselves()
        return cls(settings, table, "similar_text")

    def grow(self, smaller: Self, new: NewItems) -> None:
        """New items are like what their neighbours are like, and most like these."""
        near = new.neighbours
        self.table = smaller.table.joined(near.items + 1, near.shares, near.trained).with_themselves()

    def recount(self, features: ItemFeatures) -> None:
        """Nothing of it was counted."""


def alike(text: Vectors, items: IntArray, size: int) -> TransitionTable:
    """The nearest texts of each item and their shares, of embeddings `[n, m]` of the items `[n]` of `size`."""
    directions = F.normalize(torch.from_numpy(np.ascontiguousarray(text, dtype=np.float32)), dim=1)
    count = min(NEAREST, len(items) - 1)
    nearest = torch.empty(len(items), count, dtype=torch.int64)
    shares = torch.empty(len(items), count)
    chance = TIES * torch.rand(2 * len(items), generator=torch.Generator().manual_seed(0))
    for rows, others in _compared(directions):
        ties = chance.unfold(0, len(others), 1)  # other ones for each row
        for some in rows.split(_AT_ONCE):
            cosines = (directions[some] @ directions[others].T).add_(ties[some])
            cosines[some[:, None] == others] = -torch.inf
            best = cosines.topk(count)
            nearest[some] = others[best.indices]
            shares[some] = (best.values / TEMPERATURE).softmax(dim=1)
    order = nearest.argsort(dim=1)
    offsets = np.zeros(size + 1, np.int64)
    offsets[items + 1] = count
    return TransitionTable(
        offsets.cumsum(),
        items[nearest.gather(1, order).numpy()].ravel(),
        shares.gather(1, order).numpy().ravel(),
    )


def _compared(directions: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows, and those that they are compared with."""
    every = torch.arange(len(directions))
    if len(directions) <= ALL_UP_TO:
        yield every, every
        return
    from sklearn.cluster import MiniBatchKMeans  # imported late: a second, and serving never needs it

    found = MiniBatchKMeans(len(directions) // REGION, random_state=0, n_init=1).fit(directions.numpy())
    order = torch.from_numpy(np.argsort(found.labels_, kind="stable"))
    sizes = torch.from_numpy(found.labels_).long().bincount(minlength=len(found.cluster_centers_)).tolist()
    # A text that half the catalogue has makes a region of half the catalogue: it is cut.
    pieces = [part.split(2 * REGION) for part in order.split(sizes) if len(part)]
    centres = torch.from_numpy(found.cluster_centers_).float()[[i for i, size in enumerate(sizes) if size]]
    of_piece = torch.repeat_interleave(torch.tensor([len(cut) for cut in pieces]))
    regions = [part for cut in pieces for part in cut]
    distances = torch.cdist(centres, centres)[of_piece][:, of_piece].fill_diagonal_(-1)  # its own comes first
    counts = torch.tensor([len(part) for part in regions])
    for rows, near in zip(regions, distances.argsort(dim=1, stable=True), strict=True):
        # More regions where these hold too few.
        enough = int((counts[near].cumsum(0) <= NEAREST).sum()) + 1
        yield rows, torch.cat([regions[i] for i in near[: max(REGIONS, enough)].tolist()])
