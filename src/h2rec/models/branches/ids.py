"""Hash IDs: one learned vector an item (the HID branch of the paper; alone, SASRec, BERT4Rec or GRU4Rec)."""

from typing import Self

from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.tables import TableBranch
from h2rec.models.features import ItemFeatures
from h2rec.models.item_table import IdTable
from h2rec.models.settings import BranchModelSettings


class IdsBranch(TableBranch):
    """A backbone over hash IDs."""

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        return cls(settings, model, IdTable(features.item_count, model.dim))
