"""Branches with one static vector an item, both to read histories and to score, as in SASRec.

The kinds differ in the `ItemTable` that makes the vector.
"""

from typing import Self

import torch

from h2rec.models.backbones import Backbone, make_backbone
from h2rec.models.branch_items import DenseItems
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.features import NewItems
from h2rec.models.item_table import ItemTable
from h2rec.models.protocol import Intent
from h2rec.models.score import Score
from h2rec.models.settings import BranchModelSettings
from h2rec.models.ties.cross_attention import CrossAttentionTie
from h2rec.models.warm_start import TextStart


class TableBranch(Branch):
    """A backbone over an item table. Where its own settings are null, the model's apply."""

    def __init__(self, settings: BranchSettings, model: BranchModelSettings, table: ItemTable) -> None:
        super().__init__()
        self.settings = settings
        self.table = table
        self.encoder: Backbone = make_backbone(model, settings.layers)
        self.score: Score = model.score_of(settings)
        self.cross_attention: CrossAttentionTie | None = None

    def forward(self, sequences: Sequences, intent: Intent | None) -> BranchRead:
        entry = self.table(sequences.items)
        if self.cross_attention is not None and intent is not None:
            entry = self.cross_attention(entry, intent)
        state = self.encoder.read(entry, sequences.lengths, sequences.at)
        return BranchRead(self.score.user_side(state), state)

    def items(self, items: torch.Tensor) -> DenseItems:
        return DenseItems(self.score.item_side(self.table(items)))

    def spread(self) -> None:
        self.table.spread()

    def start(self, text: TextStart) -> None:
        self.table.start(text)

    def grow(self, smaller: Self, new: NewItems) -> None:
        self.table.grow(smaller.table, new)
        self.encoder.load_state_dict(smaller.encoder.state_dict())
        if self.cross_attention is not None and smaller.cross_attention is not None:
            self.cross_attention.load_state_dict(smaller.cross_attention.state_dict())
