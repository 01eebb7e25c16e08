"""Code-guided alignment: items of like meaning are drawn together in codes and in hash IDs (item level)."""

import numpy as np
import torch

from h2rec import distributed
from h2rec.batching.cooccurrence import cooccurrence, neighbours_within
from h2rec.batching.sequences import Batch
from h2rec.losses.contrastive import multi_positive_info_nce
from h2rec.losses.positives import share_levels
from h2rec.models.branches.codes import CodesBranch
from h2rec.models.features import ItemFeatures
from h2rec.models.item_table import ItemTable
from h2rec.models.protocol import LossTerm, UserStates
from h2rec.models.ties.settings import TieSettings

MOST_ITEMS = 512
"""Most items of a batch that are compared; memory grows with its square."""

EVERY = 4
"""Compute the term on one batch in this many."""


class Alignment:
    """Multi-positive InfoNCE between the code sums and the hash IDs of a batch's distinct targets, symmetric.

    The training histories in `features` are the only source of co-occurrence.
    """

    name = "alignment"

    def __init__(
        self, codes: CodesBranch, ids: ItemTable, settings: TieSettings, features: ItemFeatures
    ) -> None:
        self._codes, self._ids = codes, ids
        self._settings = settings
        self._every = 1 if settings.every_batch else EVERY
        shared = features.shared_codes
        assert shared is not None
        assert features.train is not None
        self._shared = torch.from_numpy(shared).long()
        window = settings.alignment.window
        self._neighbours = cooccurrence(features.train, features.item_count, window) if window else None

    def due(self, step: int) -> bool:
        return step % self._every == 0

    def __call__(self, batch: Batch, states: UserStates, random: np.random.Generator) -> LossTerm:
        settings = self._settings.alignment
        targets = batch.whole.targets
        items = torch.unique(targets[targets > 0]).cpu().numpy()
        if len(items) > MOST_ITEMS:
            items = np.sort(random.choice(items, MOST_ITEMS, replace=False))
        positives = self.positives(items).to(batch.targets.device)
        rows = torch.from_numpy(items).to(batch.targets.device)
        sides = self._codes.sums(rows), self._ids(rows)
        # The items' vectors are every worker's: each computes the whole term and counts its share of it.
        value = multi_positive_info_nce(*sides, positives, self._settings.temperature) / distributed.size()
        figures = {"positives_per_item": float(positives.sum()) / len(items), "items_compared": len(items)}
        return LossTerm(value, settings.beta * self._every, figures, adds_up=True)

    def positives(self, items: np.ndarray) -> torch.Tensor:
        """Which of some items are positives of each other, boolean `[B, B]`."""
        codes = self._shared[items]
        settings = self._settings.alignment
        positives = share_levels(codes, min(settings.shared_levels, codes.shape[1]), settings.rule)
        if self._neighbours is not None:
            positives |= neighbours_within(self._neighbours, items)
        return positives
