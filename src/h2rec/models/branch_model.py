"""A model that is a sum of branches: H2Rec (arXiv 2512.10388), its parts alone, and its controls."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

from h2rec.models.branch_items import BranchItems
from h2rec.models.branches import BRANCHES
from h2rec.models.branches.codes import CodesBranch
from h2rec.models.branches.ids import IdsBranch
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.item_table import ItemTable
from h2rec.models.protocol import BranchVectors, OwnLoss, SequenceModel, UserStates, positions_read
from h2rec.models.reasons import Reason, in_turns
from h2rec.models.settings import BranchModelSettings, ModelSettings
from h2rec.models.sparse_scores import CountedScores, CountTable
from h2rec.models.ties.alignment import Alignment
from h2rec.models.ties.cross_attention import CrossAttentionTie
from h2rec.models.ties.masking import Masking
from h2rec.models.warm_start import TextStart


class BranchModel(SequenceModel):
    """Branches by name, and the ties between them.

    The first branch of codes computes the fusion weights alpha, once for all branches.
    """

    settings_class = BranchModelSettings

    def __init__(self, settings: BranchModelSettings, branches: dict[str, Branch], item_count: int) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = item_count
        self.max_length = settings.max_length
        self.branch_names = tuple(branches)
        self.branches = nn.ModuleDict(branches)
        ids = next((b for b in branches.values() if isinstance(b, IdsBranch)), None)
        codes = next((b for b in branches.values() if isinstance(b, CodesBranch)), None)
        # In tuples, so that torch does not register the modules a second time. A tie needs both identities.
        self._codes = None if codes is None else (codes,)
        self._aligned: tuple[CodesBranch, ItemTable] | None = None
        self._attention: tuple[CrossAttentionTie] | None = None
        if codes is not None and (table := codes.identities or (ids and ids.table)):
            self._aligned = codes, table
        if codes is not None and ids is not None and settings.ties.cross_attention != "none":
            residual = settings.ties.cross_attention == "residual"
            ids.cross_attention = CrossAttentionTie(settings.dim, codes.table, keeps_identity=residual)
            self._attention = (ids.cross_attention,)
        self.branch_weights = tuple(
            settings.score_of(branch.settings).weight if branch.is_trained else branch.settings.weight
            for branch in branches.values()
        )
        if settings.objective == "cloze":
            self.objective, self.mask_item, self.mask_share = "cloze", item_count + 1, settings.mask_share
        else:
            one_target = codes is not None and settings.ties.intent == "last"
            self.objective = "last" if one_target else "next"

    @classmethod
    def build(cls, settings: ModelSettings, features: ItemFeatures) -> Self:
        assert isinstance(settings, BranchModelSettings)
        branches: dict[str, Branch] = {}
        # Hash IDs first: their random start does not depend on which branches of codes stand beside them.
        for name in sorted(settings.branches, key=lambda name: settings.branches[name].kind != "ids"):
            own, below = settings.branches[name], features.below(f"branches.{name}")
            branches[name] = BRANCHES.get(own.kind).build(own, settings, below)
        return cls(settings, {name: branches[name] for name in settings.branches}, features.item_count)

    def branch_list(self) -> list[Branch]:
        """Return the branches, in order."""
        return [branch for branch in self.branches.values() if isinstance(branch, Branch)]

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` and read the `n` positions set in `reads`."""
        sequences = Sequences(items, lengths, positions_read(reads))
        intent = None
        if self._codes is not None:
            intent = self._codes[0].intent(items, lengths, sequences.at)
        outputs = [branch(sequences, intent) for branch in self.branch_list()]
        encoded = {
            name: output.encoded
            for name, output in zip(self.branch_names, outputs, strict=True)
            if output.encoded is not None
        }
        return UserStates(
            tuple(output.user for output in outputs),
            encoded,
            None if intent is None else intent.alpha,
            None if intent is None else intent.read_alpha,
            self._norms(),
        )

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, a tensor a branch; ``[e^1; ..; e^L]`` for a branch of codes."""
        return tuple(branch.vectors() for branch in self.branch_items(items))

    def branch_items(self, items: torch.Tensor) -> tuple[BranchItems, ...]:
        return tuple(branch.items(items) for branch in self.branch_list())

    def score_targets(
        self, states: UserStates, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[BranchVectors, BranchVectors]:
        reads = [
            BranchRead(user, states.encoded.get(name))
            for name, user in zip(self.branch_names, states.vectors, strict=True)
        ]
        pairs = [
            branch.scores(read, states.read_alpha, targets, items)
            for branch, read in zip(self.branch_list(), reads, strict=True)
        ]
        return tuple(own for own, _ in pairs), tuple(shared for _, shared in pairs)

    @property
    def ranked(self) -> tuple[bool, ...]:
        return tuple(branch.ranked for branch in self.branch_list())

    @property
    def recent_items(self) -> int:
        return max(branch.recent_items for branch in self.branch_list())

    def counted(self, recent: torch.Tensor) -> dict[str, CountedScores]:
        scores = {
            name: b.counted(recent[:, : b.recent_items])
            for name, b in zip(self.branch_names, self.branch_list(), strict=True)
        }
        return {name: sparse for name, sparse in scores.items() if sparse is not None}

    def transitions(self) -> dict[str, CountTable]:
        tables = {
            name: b.transitions() for name, b in zip(self.branch_names, self.branch_list(), strict=True)
        }
        return {name: table for name, table in tables.items() if table is not None}

    def spread(self) -> None:
        for branch in self.branch_list():
            branch.spread()

    def start(self, text: TextStart) -> None:
        for branch in self.branch_list():
            branch.start(text)

    def own_losses(self, features: ItemFeatures) -> Sequence[OwnLoss]:
        branches = zip(self.branch_names, self.branch_list(), strict=True)
        losses = [loss for name, branch in branches for loss in branch.own_losses(name)]
        ties = self.settings.ties
        if self._aligned is not None and ties.alignment.beta:
            losses.append(Alignment(*self._aligned, ties, features))
        if self._codes is not None and ties.masking.gamma:
            name = next(name for name in self.branch_names if self.branches[name] is self._codes[0])
            losses.append(Masking(self._codes[0], name, ties))
        return losses

    def paths(self, items: Sequence[int], history: Sequence[int]) -> dict[str, list[list[float]]]:
        recent = torch.tensor([list(history[::-1])], dtype=torch.int64, device=self.device)
        found = {
            name: b.path(items, recent) for name, b in zip(self.branch_names, self.branch_list(), strict=True)
        }
        return {name: path for name, path in found.items() if path is not None}

    @property
    def refuses_new_items(self) -> str | None:
        return next((b.refuses_new_items for b in self.branch_list() if b.refuses_new_items), None)

    def grow(self, smaller: Self, new: NewItems) -> None:
        for branch, before in zip(self.branch_list(), smaller.branch_list(), strict=True):
            branch.grow(before, new)

    def after_training(self, features: ItemFeatures) -> None:
        learned = [branch for branch in self.branch_list() if branch.is_trained and branch.ranked]
        for branch in self.branch_list():
            branch.after_training(learned, features)

    def recount(self, features: ItemFeatures) -> None:
        for branch in self.branch_list():
            branch.recount(features)

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        by_branch = [branch.reasons(items, history) for branch in self.branch_list()]
        return [in_turns(item, of) for item, of in zip(items, zip(*by_branch, strict=True), strict=True)]

    def _norms(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        return None if self._attention is None else self._attention[0].norms
