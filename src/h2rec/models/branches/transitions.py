"""Transitions: what stood near a user's latest items in training histories, by item and by code prefix."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field

from h2rec.batching.transitions import Direction, TransitionTable, transition_table
from h2rec.data.histories import IntArray
from h2rec.models.branch_items import DenseItems
from h2rec.models.branches.prefixes import prefix_nodes
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.protocol import Intent
from h2rec.models.reasons import MOST_REASONS, Reason, ReasonKind
from h2rec.models.settings import BranchModelSettings
from h2rec.models.sparse_scores import (
    CountedScores,
    CountTable,
    Groups,
    GroupScores,
    ItemScores,
    ragged,
    summed,
    summed_densely,
)

RECENT_ITEMS = 5
"""Latest items of a history whose successors count."""
RECENT_DECAY = 0.7
"""q: the m-th latest item counts ``q^m``, m from 0."""
SCALE = 1000.0
"""s of ``log(1 + s * sum)``."""
POPULARITY_POWER = 0.5
"""e: successors are divided by their popularity to this power; 0 favours the head, 1 the tail."""


_TABLE = ("offsets", "successors", "values")
_REASONS: dict[Direction, ReasonKind] = {"forward": "follows", "backward": "precedes", "both": "goes_with"}


class CountedSettings(BranchSettings):
    """What counts weigh."""

    weight: float = Field(1.0, ge=0)
    """Weight of its score in the sum, chosen on validation."""


class TransitionsSettings(CountedSettings):
    """Which neighbours in training histories are counted."""

    direction: Direction = "forward"
    """forward: what came after an item; backward: what came before it; both: either."""


class CodeTransitionsSettings(CountedSettings):
    """Which items are counted together."""

    levels: int = Field(1, ge=1)
    """Items that share this many leading codes are counted together."""


class TransitionsBranch(Branch):
    """``log(1 + s * sum_m q^m t(i_m -> j))`` over the latest items ``i_m`` of a history; nothing is learned.

    An item's score depends on the history alone, not on a vector of the item: user and item vectors have no columns.
    """

    settings_class: ClassVar[type[BranchSettings]] = TransitionsSettings
    is_trained = False
    recent_items = RECENT_ITEMS
    scale: ClassVar[float] = SCALE
    reason_kind: ReasonKind
    offsets: torch.Tensor
    successors: torch.Tensor
    values: torch.Tensor

    def __init__(
        self, settings: BranchSettings, table: TransitionTable, reason: ReasonKind = "goes_with"
    ) -> None:
        super().__init__()
        self.settings = settings
        self.reason_kind = reason
        for name, values in zip(_TABLE, (table.offsets, table.successors, table.values), strict=True):
            self.register_buffer(name, torch.from_numpy(values))

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        """See `Branch.build`."""
        assert isinstance(settings, TransitionsSettings)
        direction = settings.direction
        table = counted_or_stored(features, np.arange(features.item_count + 1), direction)
        return cls(settings, table, _REASONS[direction])

    @property
    def table(self) -> TransitionTable:
        """The transitions, on the CPU."""
        return TransitionTable(*(t.cpu().numpy() for t in (self.offsets, self.successors, self.values)))

    @table.setter
    def table(self, table: TransitionTable) -> None:
        device = self.offsets.device
        for name, values in zip(_TABLE, (table.offsets, table.successors, table.values), strict=True):
            setattr(self, name, torch.from_numpy(values).to(device))

    def forward(self, sequences: Sequences, intent: Intent | None) -> BranchRead:
        """No columns."""
        return BranchRead(torch.zeros(sequences.at.shape[0], 0, device=sequences.at.device))

    def items(self, items: torch.Tensor) -> DenseItems:
        """No columns."""
        return DenseItems(torch.zeros(len(items), 0, device=items.device))

    def counted(self, recent: torch.Tensor) -> CountedScores:
        """See `Branch.counted`."""
        found = summed(*self._followers(recent), len(self.offsets))
        return ItemScores(found.rows, found.items, self._score(found.values))

    def transitions(self) -> CountTable:
        """See `Branch.transitions`."""
        return self._table(torch.arange(len(self.offsets) - 1), None)

    def groups(self, items: torch.Tensor) -> torch.Tensor:
        """The groups of items that are counted together: every item alone."""
        return items

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        """The latest items that it follows most, by their shares of the sum, latest first among equals."""
        latest = list(reversed(history))[:RECENT_ITEMS]
        if not items or not latest or not self.settings.weight:
            return [[] for _ in items]
        # Each of the latest items as a user of one item.
        sums = summed(*self._followers(torch.tensor(latest)[:, None]), len(self.offsets))
        counts = sums.at(torch.arange(len(latest))[:, None], self.groups(torch.tensor(items))).numpy()
        distinct = list(dict.fromkeys(latest))
        parts = np.zeros((len(distinct), len(items)))
        for place, item in enumerate(latest):
            parts[distinct.index(item)] += RECENT_DECAY**place * counts[place]
        shares = parts / np.maximum(parts.sum(axis=0), np.finfo(np.float32).tiny)
        order = np.argsort(-shares, axis=0, kind="stable")[:MOST_REASONS]
        return [
            [Reason(distinct[p], self.reason_kind, float(of_item[p])) for p in places if of_item[p] > 0]
            for places, of_item in zip(order.T, shares.T, strict=True)
        ]

    def _followers(self, recent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Users, groups and ``q^m t(i_m -> j)`` of all successors of the latest items `[n, m]`, the latest first."""
        count = recent.shape[1]
        places, entries = ragged(self.offsets, self.groups(recent).flatten())
        decay = RECENT_DECAY ** torch.arange(count, device=recent.device, dtype=torch.float32)
        return places // count, self.successors[entries], self.values[entries] * decay[places % count]

    def _table(self, groups: torch.Tensor, levels: int | None) -> CountTable:
        sources = torch.repeat_interleave(self.offsets.diff())
        return CountTable(
            groups, levels, sources, self.successors, self.scale * self.values, self.settings.weight
        )

    def _score(self, sums: torch.Tensor) -> torch.Tensor:
        return self.settings.weight * torch.log1p(self.scale * sums)

    def grow(self, smaller: Self, new: NewItems) -> None:
        """No history has a new item yet: it follows what its neighbours follow, and what follows them follows it."""
        near = new.neighbours
        self.table = smaller.table.joined(near.items + 1, near.shares, near.trained)

    def recount(self, features: ItemFeatures) -> None:
        """What was added and never met another item yet keeps what its neighbours lent it."""
        assert isinstance(self.settings, TransitionsSettings)
        direction = self.settings.direction
        counted = counted_or_stored(
            replace(features, stored={}), np.arange(features.item_count + 1), direction
        )
        self.table = counted.with_others_of(self.table)


class CodeTransitionsBranch(TransitionsBranch):
    """Transitions between prefixes of codes, whatever their order: what a region of the catalogue goes with.

    Where an item has no successors of its own, its region has.
    """

    settings_class = CodeTransitionsSettings
    reads_codes = True
    nodes: torch.Tensor
    members: torch.Tensor
    member_offsets: torch.Tensor

    def __init__(self, settings: BranchSettings, table: TransitionTable, nodes: IntArray) -> None:
        super().__init__(settings, table, "kind_goes_with")
        order = np.argsort(nodes[1:], kind="stable") + 1
        offsets = np.searchsorted(nodes[order], np.arange(nodes.max(initial=0) + 2))
        self.register_buffer("nodes", torch.from_numpy(nodes.astype(np.int64)), persistent=False)
        self.register_buffer("members", torch.from_numpy(order.astype(np.int64)), persistent=False)
        self.register_buffer("member_offsets", torch.from_numpy(offsets.astype(np.int64)), persistent=False)

    @classmethod
    def build(cls, settings: BranchSettings, model: BranchModelSettings, features: ItemFeatures) -> Self:
        """See `Branch.build`."""
        codes = features.require_codes("a branch of code transitions").codes
        assert isinstance(settings, CodeTransitionsSettings)
        depth = min(settings.levels, codes.shape[1])
        # One level more, as the tree of prefixes leaves out the last one: numbers stay when the catalogue grows.
        padded = np.concatenate([codes[:, :depth], codes[:, :1]], axis=1)
        rows, _ = prefix_nodes(padded)
        nodes = np.concatenate([[0], rows[:, depth - 1]])
        return cls(settings, counted_or_stored(features, nodes, "both"), nodes)

    def groups(self, items: torch.Tensor) -> torch.Tensor:
        """The prefix of each item."""
        return self.nodes[items]

    def counted(self, recent: torch.Tensor) -> CountedScores:
        """See `Branch.counted`."""
        shape = recent.shape[0], len(self.offsets) - 1
        sums = summed_densely(*self._followers(recent), shape)
        return GroupScores(self._score(sums), Groups(self.nodes, self.members, self.member_offsets))

    def transitions(self) -> CountTable:
        """See `Branch.transitions`."""
        assert isinstance(self.settings, CodeTransitionsSettings)
        return self._table(self.nodes, self.settings.levels)

    def grow(self, smaller: Self, new: NewItems) -> None:
        """New items join the prefixes that they have in common with known ones; a prefix of their own has no counts."""
        self.successors, self.values = smaller.successors, smaller.values
        more = int(self.nodes.max()) + 2 - len(smaller.offsets)
        self.offsets = torch.cat([smaller.offsets, smaller.offsets[-1:].expand(max(0, more))])

    def recount(self, features: ItemFeatures) -> None:
        """See `Branch.recount`."""
        nodes = self.nodes.cpu().numpy()
        self.table = counted_or_stored(replace(features, stored={}), nodes, "both")


def counted_or_stored(features: ItemFeatures, groups: IntArray, direction: Direction) -> TransitionTable:
    """Count the training histories; of weights that are loaded later, take what is stored."""
    size = int(groups.max(initial=0)) + 1
    if (table := stored_table(features, size)) is not None:
        return table
    if features.counted is None:
        return TransitionTable.empty(size)
    return transition_table(*features.counted, groups, direction, popularity_power=POPULARITY_POWER)


def stored_table(features: ItemFeatures, size: int) -> TransitionTable | None:
    """The table of weights that are loaded later, of `size` groups; None where there are none."""
    if "offsets" not in features.stored:
        return None
    return TransitionTable(*(features.stored[name].numpy() for name in _TABLE)).checked(size)
