"""A model that is a sum of branches: H2Rec (arXiv 2512.10388), its parts alone, and its controls."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Self

import torch
from torch import nn

from h2rec.models.branch_items import BranchItems
from h2rec.models.branches import BRANCHES
from h2rec.models.branches.codes import MOST_REASONS, CodesBranch
from h2rec.models.branches.ids import IdsBranch
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.protocol import BranchVectors, OwnLoss, Reason, SequenceModel, UserStates, positions_read
from h2rec.models.settings import BranchModelSettings, ModelSettings
from h2rec.models.ties.alignment import Alignment
from h2rec.models.ties.cross_attention import CrossAttentionTie
from h2rec.models.ties.masking import Masking
from h2rec.models.warm_start import TextStart


class BranchModel(SequenceModel):
    """Branches by name, and the ties between them.

    Fusion weights alpha are computed once, by the first branch of codes, and all branches use them.

    Parameters
    ----------
    settings
        The model's.
    branches
        Branches by name, in the order of the settings.
    item_count
        N.
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
        # Both, or there is nothing to tie; plain references, as the modules go by the branches' names.
        self._codes = None if codes is None else (codes,)
        self._tied = None if ids is None or codes is None else (codes, ids)
        if self._tied is not None and settings.ties.cross_attention != "none":
            codes, ids = self._tied
            kept = settings.ties.cross_attention == "residual"
            ids.cross_attention = CrossAttentionTie(settings.dim, codes.table, keeps_identity=kept)
        alone = settings.score_of
        self.branch_weights = tuple(
            alone(branch.settings).weight if branch.is_trained else branch.settings.weight
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
        made: dict[str, Branch] = {}
        # Hash IDs first: what is drawn from a seed does not depend on which branches of codes stand beside them.
        for name in sorted(settings.branches, key=lambda name: settings.branches[name].kind != "ids"):
            branch = settings.branches[name]
            made[name] = BRANCHES.get(branch.kind).build(branch, settings, features.below(f"branches.{name}"))
        return cls(settings, {name: made[name] for name in settings.branches}, features.item_count)

    def parts(self) -> list[Branch]:
        """Return the branches, in order."""
        return [branch for branch in self.branches.values() if isinstance(branch, Branch)]

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` and read the `n` positions set in `reads`."""
        sequences = Sequences(items, lengths, positions_read(reads))
        intent = None
        if self._codes is not None:
            intent = self._codes[0].intent(items, lengths, sequences.at)
        found = [branch(sequences, intent) for branch in self.parts()]
        encoded = {
            name: branch.encoded
            for name, branch in zip(self.branch_names, found, strict=True)
            if branch.encoded is not None
        }
        return UserStates(
            tuple(branch.user for branch in found),
            encoded,
            None if intent is None else intent.alpha,
            None if intent is None else intent.read_alpha,
            self._norms(),
        )

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, a tensor a branch; ``[e^1; ..; e^L]`` for a branch of codes."""
        return tuple(branch.vectors() for branch in self.branch_items(items))

    def branch_items(self, items: torch.Tensor) -> tuple[BranchItems, ...]:
        return tuple(branch.items(items) for branch in self.parts())

    def score_targets(
        self, states: UserStates, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[BranchVectors, BranchVectors]:
        """See `SequenceModel.score_targets`; each branch scores as it does fastest."""
        reads = [
            BranchRead(user, states.encoded.get(name))
            for name, user in zip(self.branch_names, states.vectors, strict=True)
        ]
        pairs = [
            branch.scores(read, states.read_alpha, targets, items)
            for branch, read in zip(self.parts(), reads, strict=True)
        ]
        return tuple(own for own, _ in pairs), tuple(shared for _, shared in pairs)

    def start(self, text: TextStart) -> None:
        for branch in self.parts():
            branch.start(text)

    def own_losses(self, features: ItemFeatures) -> Sequence[OwnLoss]:
        """Alignment of codes and hash IDs, and masking of a granularity."""
        found: list[OwnLoss] = []
        ties = self.settings.ties
        if self._tied is not None and ties.alignment.beta:
            found.append(Alignment(*self._tied, ties, features))
        if self._codes is not None and ties.masking.gamma:
            name = next(name for name in self.branch_names if self.branches[name] is self._codes[0])
            found.append(Masking(self._codes[0], name, ties))
        return found

    def learning_rates(self) -> Iterator[tuple[nn.Module, float]]:
        for branch in self.parts():
            if branch.settings.learning_rate is not None:
                yield branch, branch.settings.learning_rate

    @property
    def refuses_new_items(self) -> str | None:
        return next((b.refuses_new_items for b in self.parts() if b.refuses_new_items), None)

    def grow(self, smaller: Self, new: NewItems) -> None:
        """See `SequenceModel.grow`; each branch grows its own tables."""
        for branch, before in zip(self.parts(), smaller.parts(), strict=True):
            branch.grow(before, new)

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        """See `SequenceModel.reasons`; what several branches say is said once."""
        by_branch = [branch.reasons(items, history) for branch in self.parts()]
        return [
            list(dict.fromkeys(chain.from_iterable(of_item)))[:MOST_REASONS]
            for of_item in zip(*by_branch, strict=True)
        ]

    def _norms(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        if self._tied is None or self._tied[1].cross_attention is None:
            return None
        return self._tied[1].cross_attention.norms
