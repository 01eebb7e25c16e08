"""Items as leaves of the tree of their codes: a vector for every prefix that items share, and one of their own.

Beyond the paper; the prefixes are those of PG-SID (arXiv 2504.02137), numbered instead of hashed.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import nn

from h2rec.data.histories import IntArray
from h2rec.models.branches.codes import reasons_by_codes
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.branches.tables import TableBranch
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.item_table import ItemTable
from h2rec.models.reasons import Reason
from h2rec.models.row_shards import RowShards
from h2rec.models.row_sum import RowArray, RowSum
from h2rec.models.settings import BranchModelSettings
from h2rec.models.warm_start import TextStart, start_rows
from h2rec.semantic_ids.codes import CodeArray


class PrefixTable(ItemTable):
    """The vectors of the prefixes that an item's codes begin with, and its leaf, added up.

    `codes`: `[N, L]`.
    `train_counts`: training interactions of each item, `[N + 1]`; None where weights are loaded later.
    """

    has_leaf: torch.Tensor

    def __init__(self, codes: CodeArray, dim: int, train_counts: IntArray | None) -> None:
        super().__init__()
        self.nodes = RowSum(*prefix_nodes(codes), dim, stored=False)
        # Rows for padding and for the masked item, as in a table of hash IDs; both stay zero.
        self.leaves = nn.Embedding.from_pretrained(torch.zeros(len(codes) + 2, dim), freeze=False)
        # An item that training never saw has no leaf: only the prefixes that it shares.
        seen = torch.zeros(len(codes) + 2)
        if train_counts is not None:
            seen[: len(codes) + 1] = torch.from_numpy(train_counts > 0).float()
        self.register_buffer("has_leaf", seen)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.nodes(items) + self.leaves(items) * self.has_leaf[items][..., None]  # type: ignore[no-any-return]

    def spread(self) -> None:
        self.leaves = RowShards(self.leaves)

    def start(self, text: TextStart) -> None:
        # Each leaf starts at what the prefixes leave of its text.
        self.nodes.start(text)
        with torch.no_grad():
            shared = self.nodes(torch.arange(1, len(self.has_leaf) - 1)).numpy()
        start_rows(self.leaves.weight, text.vectors - shared)

    def grow(self, smaller: Self, new: NewItems) -> None:
        self.nodes.grow(smaller.nodes, new)
        with torch.no_grad():
            self.leaves.weight.copy_(new.learned_rows(smaller.leaves.weight))
            self.has_leaf.copy_(new.unseen_rows(smaller.has_leaf))


class PrefixesBranch(TableBranch):
    """A backbone over the leaves of the code tree."""

    reads_codes = True

    def __init__(
        self, settings: BranchSettings, model: BranchModelSettings, table: ItemTable, codes: CodeArray
    ) -> None:
        super().__init__(settings, model, table)
        self._codes = codes

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        codes = features.require_codes("a branch of prefixes").codes
        return cls(settings, model, PrefixTable(codes, model.dim, features.train_counts), codes)

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        return reasons_by_codes(self._codes, items, history)


def prefix_nodes(codes: CodeArray) -> tuple[RowArray, int]:
    """Number the prefixes that end before the last code, in the order in which items first have them.

    A catalogue that grows at its end keeps the numbers that it has given.

    `codes`: `[N, L]`.

    Returns rows `[N, max(1, L - 1)]`, counted from 1, and how many there are. One level makes a tree of that level and
    the leaves.
    """
    depth = max(1, codes.shape[1] - 1)
    first_items = []
    for length in range(1, depth + 1):
        _, first, inverse = np.unique(codes[:, :length], axis=0, return_index=True, return_inverse=True)
        first_items.append(first[inverse.reshape(-1)])
    # A prefix is identified by its first item and its length: numbered by item, then by length.
    by_item = np.stack(first_items, axis=1) * depth + np.arange(depth)
    nodes, rows = np.unique(by_item, return_inverse=True)
    return rows.reshape(by_item.shape).astype(np.int64) + 1, len(nodes)
