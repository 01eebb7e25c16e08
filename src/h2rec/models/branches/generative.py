"""A generative branch: an item's semantic ID is decoded code by code, and its hash ID tells it from its likes."""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch.nn import functional as F

from h2rec.batching.sequences import Batch
from h2rec.errors import ConfigError
from h2rec.models.branch_items import DenseItems
from h2rec.models.branches.codes import CodesBranch
from h2rec.models.branches.protocol import Branch, BranchRead, Sequences
from h2rec.models.branches.settings import BranchSettings
from h2rec.models.code_table import weighted_sum
from h2rec.models.code_tree import Beams, CodeTree
from h2rec.models.features import NewItems
from h2rec.models.item_table import IdTable, ItemTable
from h2rec.models.path_decoder import PathDecoder
from h2rec.models.protocol import Intent, LossTerm, OwnLoss, UserStates
from h2rec.models.score import Score
from h2rec.models.settings import BranchModelSettings
from h2rec.models.sparse_scores import CountedScores, Groups, GroupScores, ItemScores
from h2rec.models.warm_start import TextStart
from h2rec.semantic_ids.codes import SemanticIds

SCALE = 1000.0
"""s of ``log(1 + s * N * p)``: an item that chance alone would give scores ``log(1 + s)``."""
EXACT_UP_TO = 100_000
"""Items of a catalogue that are all scored exactly; in a larger one, those whose paths survive a beam search."""
BEAM = 500
"""Paths of a user that survive each level of a beam search."""


class GenerativeBranch(CodesBranch):
    """``log(1 + s N p(v | u))``, `p` decoded by `PathDecoder` from a backbone over hash IDs plus code vectors.

    A score is never negative, and grows as ``log p`` does for all that is not far below chance. It is a probability
    among all items, no inner product: user and item vectors have no columns.
    """

    ranked = False

    def __init__(self, settings: BranchSettings, model: BranchModelSettings, ids: SemanticIds) -> None:
        super().__init__(settings, model, ids)
        self.beam_width = None if len(ids) <= EXACT_UP_TO else BEAM
        self.ids = IdTable(len(ids), model.dim)
        self.tree = CodeTree(ids.codes)
        self.decoder = PathDecoder(self.tree, self.table, self.ids, model.dim, Score(model.temperature))
        self.mask_item = len(ids) + 1 if model.objective == "cloze" else None
        self.recent_items = model.max_length - (self.mask_item is not None)

    @property
    def identities(self) -> ItemTable:
        return self.ids

    def forward(self, sequences: Sequences, intent: Intent | None) -> BranchRead:
        """No columns; the user states are for the branch's own losses.

        The weights of the levels are its own, also beside another branch of codes: `counted` knows no other.
        """
        nothing = torch.zeros(len(sequences.at), 0, device=sequences.at.device)
        if not self.training:
            return BranchRead(nothing)  # `counted` reads the histories itself
        own = self.intent(sequences.items, sequences.lengths, sequences.at)
        return BranchRead(nothing, self.states(sequences, own.rows, own.alpha))

    def states(self, sequences: Sequences, rows: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        entry = self.ids(sequences.items) + weighted_sum(rows, alpha, self.table.vectors)
        return self.encoder.read(entry, sequences.lengths, sequences.at)

    def items(self, items: torch.Tensor) -> DenseItems:
        """No columns."""
        return DenseItems(torch.zeros(len(items), 0, device=items.device))

    def scores(
        self, read: BranchRead, intent: torch.Tensor | None, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """No loss asks for them."""
        return Branch.scores(self, read, intent, targets, items)

    def own_losses(self, name: str) -> Sequence[OwnLoss]:
        """See `Branch.own_losses`."""
        return [Decoding(self.decoder, name)]

    def counted(self, recent: torch.Tensor) -> CountedScores:
        """See `Branch.counted`."""
        if self.beam_width is not None:
            found = self.beams(recent, self.beam_width)
            return ItemScores(found.rows, found.items, self._score(found.log_probs))
        log_probs = self.decoder.log_probs(self._states_of(recent))
        each = torch.arange(len(self.table.item_rows) - 1, device=recent.device)
        return GroupScores(self._score(log_probs), Groups(each, each, torch.cat([each, each[-1:] + 1])))

    def beams(self, recent: torch.Tensor, width: int) -> Beams:
        """Items of the most probable paths for the latest items `[n, m]` of histories, the latest first."""
        return self.decoder.beam(self._states_of(recent), width)

    def path(self, items: Sequence[int], recent: torch.Tensor) -> list[list[float]]:
        """See `Branch.path`."""
        with torch.inference_mode():
            at = torch.tensor(items, dtype=torch.int64, device=recent.device)
            return self.decoder.path_log_probs(self._states_of(recent), at)[0].tolist()

    def spread(self) -> None:
        """Refuse: a step looks at the hash IDs of all items."""
        raise ConfigError(
            "the tables of a generative branch can't be spread over workers", "leave the branch out"
        )

    def start(self, text: TextStart) -> None:
        super().start(text)
        self.ids.start(text)

    def grow(self, smaller: Self, new: NewItems) -> None:
        """New items are leaves of the tree by their codes: they can be decoded at once."""
        super().grow(smaller, new)
        self.ids.grow(smaller.ids, new)
        self.decoder.load_state_dict(smaller.decoder.state_dict())

    def _states_of(self, recent: torch.Tensor) -> torch.Tensor:
        items, lengths = turned(recent[:, : self.recent_items])
        if self.mask_item is not None:
            items = F.pad(items, (0, 1)).scatter(1, lengths[:, None], self.mask_item)
            lengths = lengths + 1
        at = torch.arange(len(items), device=items.device) * items.shape[1] + (lengths - 1).clamp(min=0)
        intent = self.intent(items, lengths.clamp(min=1), at)
        return self.states(Sequences(items, lengths.clamp(min=1), at), intent.rows, intent.alpha)

    def _score(self, log_probs: torch.Tensor) -> torch.Tensor:
        return self.score.weight * likelihood_scores(log_probs, len(self.table.item_rows) - 2)


class Decoding:
    """Mean ``-log p(target | u)`` at every position that is read."""

    def __init__(self, decoder: PathDecoder, branch: str) -> None:
        self.name = f"decoding_{branch}"
        self._decoder = decoder
        self._branch = branch

    def due(self, step: int) -> bool:
        return True

    def __call__(self, batch: Batch, states: UserStates, random: np.random.Generator) -> LossTerm:
        targets = batch.targets[batch.targets > 0]
        value, by_depth = self._decoder.loss(states.encoded[self._branch], targets)
        figures = {f"loss/{self.name}/{name}": float(part.detach()) for name, part in by_depth.items()}
        return LossTerm(value, 1.0, figures)


def likelihood_scores(log_probs: torch.Tensor, item_count: int) -> torch.Tensor:
    """``log(1 + s N p)``, never negative, from log-probabilities among N items."""
    return F.softplus(log_probs + math.log(SCALE * item_count))


def turned(recent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Histories `[n, m]` in order, padded on the right, and their lengths `[n]`, from their latest items first."""
    lengths = (recent > 0).sum(1)
    places = lengths[:, None] - 1 - torch.arange(recent.shape[1], device=recent.device)
    return torch.where(places >= 0, recent.gather(1, places.clamp(min=0)), 0), lengths
