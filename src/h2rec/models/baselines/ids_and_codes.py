"""HID + SID in one vector, without alignment: added, or concatenated.

The hybrids that fuse early: shared codes and hash IDs go through one backbone (the case of "collaborative overwhelming"
in the H2Rec paper).
"""

from typing import Literal, Self

import torch
from torch import nn

from h2rec.models.baselines.code_sum import CodeSum
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.tables import TableBranch
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.item_table import IdTable, ItemTable
from h2rec.models.settings import BranchModelSettings
from h2rec.models.warm_start import TextStart
from h2rec.semantic_ids.codes import SemanticIds


class IdsAndCodesSettings(BranchSettings):
    """How hash IDs and codes become one vector."""

    join: Literal["add", "concat"] = "add"
    """add, or concat: side by side, brought back to the hidden size by a linear layer."""


class IdsAndCodes(ItemTable):
    """``h_v + s_v``, `s_v` the sum of the code vectors."""

    def __init__(self, semantic_ids: SemanticIds, dim: int) -> None:
        super().__init__()
        self.ids = IdTable(len(semantic_ids), dim)
        self.codes = CodeSum(semantic_ids, dim)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.ids(items) + self.codes(items)  # type: ignore[no-any-return]

    def start(self, text: TextStart) -> None:
        self.ids.start(text)
        self.codes.start(text)

    def grow(self, smaller: Self, new: NewItems) -> None:
        self.ids.grow(smaller.ids, new)
        self.codes.grow(smaller.codes, new)


class IdsBesideCodes(IdsAndCodes):
    """``W [h_v; s_v]``: concatenated at full size each, and brought back to `d` by a linear layer."""

    def __init__(self, semantic_ids: SemanticIds, dim: int) -> None:
        super().__init__(semantic_ids, dim)
        self.merge = nn.Linear(2 * dim, dim, bias=False)
        # Starts as the plain sum: a random map would destroy the warm start of both halves.
        with torch.no_grad():
            self.merge.weight.copy_(torch.eye(dim).repeat(1, 2))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.merge(torch.cat([self.ids(items), self.codes(items)], dim=-1))  # type: ignore[no-any-return]

    def grow(self, smaller: Self, new: NewItems) -> None:
        super().grow(smaller, new)
        self.merge.load_state_dict(smaller.merge.state_dict())


class IdsAndCodesBranch(TableBranch):
    """A backbone over hash IDs and codes in one vector."""

    settings_class = IdsAndCodesSettings
    reads_codes = True

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        assert isinstance(settings, IdsAndCodesSettings)
        table = IdsAndCodes if settings.join == "add" else IdsBesideCodes
        return cls(settings, model, table(features.require_codes("a branch of ids and codes"), model.dim))
