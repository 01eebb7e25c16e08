"""Masked sequence granularity: a user is the same user with one granularity hidden (user level)."""

import numpy as np
import torch

from h2rec import collectives
from h2rec.batching.sequences import Batch
from h2rec.losses.contrastive import info_nce
from h2rec.models.branches.codes import CodesBranch
from h2rec.models.branches.protocol import Sequences
from h2rec.models.protocol import LossTerm, UserStates
from h2rec.models.ties.settings import TieSettings

EVERY = 8
"""Compute the term on one batch in this many."""


class Masking:
    """InfoNCE between the states of a batch's users and those of their masked views."""

    name = "masking"

    def __init__(self, branch: CodesBranch, name: str, settings: TieSettings) -> None:
        self._branch = branch
        self._branch_name = name
        self._settings = settings
        self._every = 1 if settings.every_batch else EVERY

    def due(self, step: int) -> bool:
        return step % self._every == 0

    def __call__(self, batch: Batch, states: UserStates, random: np.random.Generator) -> LossTerm:
        # Users are read where the last target of their sequence is predicted.
        assert states.alpha is not None
        reads = batch.targets > 0
        plain = states.encoded[self._branch_name][reads.sum(1).cumsum(0) - 1]
        steps = torch.arange(reads.shape[1], device=reads.device)
        at = torch.where(reads, steps, -1).max(1).values
        level = self._level(states.alpha[torch.arange(len(at), device=at.device), at], batch, random)
        settings = self._settings
        view = self.view(batch, states.alpha, level, at)
        if batch.part is not None:
            # Users are told apart among those of all workers.
            own = batch.rows.stop - batch.rows.start
            views = view.new_zeros(len(batch.whole.items), view.shape[1])
            views[batch.rows] = view[:own]
            plain, view = plain[:own], collectives.added_up(views)
        value = info_nce(plain, view, settings.temperature, first=batch.rows.start)
        return LossTerm(value, settings.masking.gamma * self._every, adds_up=True)

    def view(self, batch: Batch, alpha: torch.Tensor, level: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Masked views of a batch, `[B, d]`, read at `at` `[B]`, each without its `level` `[B]`."""
        rows, width = batch.items.shape
        flat = torch.arange(rows, device=at.device) * width + at
        return self._branch.masked(Sequences(batch.items, batch.lengths, flat), alpha, level)

    def _level(self, alpha: torch.Tensor, batch: Batch, random: np.random.Generator) -> torch.Tensor:
        match self._settings.masking.level:
            case "lowest":
                return alpha.argmin(-1)
            case "highest":
                return alpha.argmax(-1)
            case _:
                drawn = random.integers(0, alpha.shape[1], len(batch.whole.items))
                first = batch.rows.start
                return torch.from_numpy(drawn[first : first + len(alpha)]).to(alpha.device)
