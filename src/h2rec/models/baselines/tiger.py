"""TIGER: the tokens of a history's semantic IDs in, those of the next item out, by an encoder-decoder.

Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023 (arXiv 2305.05065): a T5 of four
encoder and four decoder layers, 6 heads of 64, width 128, inner width 1024, dropout 0.1, trained on every prefix of
a history.

Differences: no token for the user; codes of a level are told apart from those of that level alone, in the loss and in
the search (the paper's softmax is over all levels' tokens, and its beams may end in tuples that do not exist); one bias
for distances of tokens in each stack as in T5, but attention is scaled and embeddings start small; items that share all
codes, if they were not given a suffix, share a path's probability evenly.
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from h2rec.batching.sequences import Batch
from h2rec.models.baselines.t5 import Stack
from h2rec.models.branches.codes import reasons_by_codes
from h2rec.models.branches.generative import likelihood_scores, turned
from h2rec.models.code_table import CodeTable
from h2rec.models.code_tree import Beams, CodeTree, Step, joined
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.protocol import BranchVectors, LossTerm, OwnLoss, SequenceModel, UserStates
from h2rec.models.reasons import Reason
from h2rec.models.settings import ModelSettings
from h2rec.models.sparse_scores import CountedScores, ItemScores
from h2rec.semantic_ids.codes import SemanticIds

BEAM = 100
"""Paths of a user that survive each level, and so the items that can be listed."""
USERS_AT_ONCE = 32


class TigerSettings(ModelSettings):
    """TIGER: an encoder-decoder over the codes of a history."""

    name: Literal["tiger"] = "tiger"
    """tiger."""
    dim: int = Field(128, ge=1)
    """Width of the encoder and of the decoder."""
    layers: int = Field(4, ge=1)
    """Layers of the encoder, and as many of the decoder."""
    heads: int = Field(6, ge=1)
    """Attention heads, of 64 each."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout behind every attention and feed-forward layer."""
    max_length: int = Field(20, ge=2)
    """Items that the encoder sees; older history is cut."""

    @property
    def reads_codes(self) -> bool:
        return True

    @property
    def most_layers(self) -> int:
        return self.layers


class Tiger(SequenceModel):
    """Codes decoded one by one.

    Symbols: `L` levels, `S = T L` tokens of a history, `d` width.
    """

    settings_class = TigerSettings
    branch_names = ("tiger",)
    branch_weights = (1.0,)
    objective = "last"

    def __init__(self, settings: TigerSettings, ids: SemanticIds) -> None:
        super().__init__()
        dim = settings.dim
        self.settings = settings
        self.item_count = len(ids)
        self.max_length = settings.max_length
        self.tokens = CodeTable(ids.padded(), ids.codebook_sizes, dim)
        self.begin = nn.Parameter(torch.empty(dim))
        nn.init.normal_(self.begin, std=0.02)
        sizes = dim, settings.layers, settings.heads, settings.dropout
        self.encoder, self.decoder = Stack(*sizes, causal=False), Stack(*sizes, causal=True)
        self.tree = CodeTree(ids.codes)
        self._codes = ids.codes

    @classmethod
    def build(cls, settings: ModelSettings, features: ItemFeatures) -> Self:
        assert isinstance(settings, TigerSettings)
        return cls(settings, features.require_codes("model tiger"))

    @property
    def ranked(self) -> tuple[bool, ...]:
        return (False,)

    @property
    def recent_items(self) -> int:
        return self.max_length

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """No columns; in training also the encoded tokens, `[B, S, d]`. The last position of each history is read."""
        count = len(reads) if reads.dtype == torch.int64 else reads.sum()
        nothing = torch.zeros(int(count), 0, device=items.device)
        if not self.training:
            return UserStates((nothing,))  # `counted` reads the histories itself
        return UserStates((nothing,), {"tiger": self.encode(items, lengths)})

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """No columns."""
        return (torch.zeros(len(items), 0, device=items.device),)

    def own_losses(self, features: ItemFeatures) -> Sequence[OwnLoss]:
        return [NextTokens(self)]

    def counted(self, recent: torch.Tensor) -> dict[str, CountedScores]:
        found = self.beams(recent, BEAM)
        scores = likelihood_scores(found.log_probs, self.item_count)
        return {"tiger": ItemScores(found.rows, found.items, scores)}

    @property
    def refuses_new_items(self) -> str | None:
        return None

    def grow(self, smaller: Self, new: NewItems) -> None:
        self.load_state_dict(smaller.state_dict())  # new items have known codes

    def reasons(self, items: Sequence[int], history: Sequence[int]) -> list[list[Reason]]:
        return reasons_by_codes(self._codes, items, history)

    def encode(self, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Tokens of histories `[B, T]`, encoded, `[B, S, d]`."""
        tokens = self.tokens.vectors[self.tokens.rows(items)].flatten(1, 2)
        return self.encoder(tokens, self.seen(items, lengths))  # type: ignore[no-any-return]

    def seen(self, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Which tokens of histories are no padding, bool `[B, S]`."""
        levels = self.tokens.levels
        places = torch.arange(items.shape[1] * levels, device=items.device)
        return places < lengths.clamp(min=1)[:, None] * levels  # of an empty history one item of padding

    def decode(self, prefix: torch.Tensor, memory: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Decoder states `[B, W, l + 1, d]` behind each of `l` codes and before the first.

        `prefix`: rows of the codes so far, int64 `[B, W, l]`, of `W` paths over the same history each.
        """
        batch, paths, length = prefix.shape
        codes = self.tokens.vectors[prefix]
        begin = self.begin.expand(batch, paths, 1, -1)
        entry = torch.cat([begin, codes], dim=2).flatten(0, 1)
        states = self.decoder(entry, None, memory, seen)
        return states.view(batch, paths, length + 1, -1)  # type: ignore[no-any-return]

    def level_logits(self, states: torch.Tensor, level: int) -> torch.Tensor:
        """Logits of a level's codes, `[.., K_l]`, for decoder states `[.., d]`; tied to the tokens."""
        codes = self.tokens.by_level(self.tokens.vectors)[level][:-1]
        return states @ codes.T

    def beams(self, recent: torch.Tensor, width: int) -> Beams:
        """Items of the most probable paths for the latest items `[n, m]` of histories, the latest first."""
        items, lengths = turned(recent[:, : self.max_length])
        parts = [
            self.tree.beam(len(some), self._step(self.encode(some, of), self.seen(some, of)), width)
            for some, of in zip(items.split(USERS_AT_ONCE), lengths.split(USERS_AT_ONCE), strict=True)
        ]
        return joined(parts, USERS_AT_ONCE)

    def _step(self, memory: torch.Tensor, seen: torch.Tensor) -> Step:
        tree, tokens = self.tree, self.tokens

        def step(
            depth: int,
            rows: torch.Tensor,
            nodes: torch.Tensor,
            places: torch.Tensor,
            children: torch.Tensor,
        ) -> torch.Tensor:
            if depth == tokens.levels:
                return -(tree.offsets.diff()[nodes].float().log())[places]
            counts = torch.bincount(rows, minlength=len(memory))
            rank = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
            # Paths of one user side by side, so that all read one memory; short lists are filled up with the root.
            path = nodes.new_zeros(len(memory), int(counts.max()), depth)
            above = nodes
            for level in reversed(range(depth)):
                path[rows, rank, level] = tree.value[above] + tokens.starts[level]
                above = tree.parent[above]
            states = self.decode(path, memory, seen)[rows, rank, -1]
            log_probs = self.level_logits(states, depth).log_softmax(-1)
            return log_probs[places, tree.value[children]]

        return step


class NextTokens:
    """Mean ``-log p`` of the codes of every target, added up over the levels."""

    name = "next_tokens"

    def __init__(self, model: Tiger) -> None:
        self._model = model

    def due(self, step: int) -> bool:
        return True

    def __call__(self, batch: Batch, states: UserStates, random: np.random.Generator) -> LossTerm:
        model = self._model
        rows = model.tokens.rows(batch.targets[batch.targets > 0])
        seen = model.seen(batch.items, batch.lengths)
        decoded = model.decode(rows[:, None, :-1], states.encoded["tiger"], seen)[:, 0]
        codes = rows - model.tokens.starts
        losses = [
            F.cross_entropy(model.level_logits(decoded[:, level], level), codes[:, level])
            for level in range(model.tokens.levels)
        ]
        figures = {f"loss/level_{level + 1}": float(loss.detach()) for level, loss in enumerate(losses)}
        return LossTerm(torch.stack(losses).sum(), 1.0, figures)
