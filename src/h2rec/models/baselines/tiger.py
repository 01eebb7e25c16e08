"""TIGER: the tokens of a history's semantic IDs in, those of the next item out, by an encoder-decoder.

Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023 (arXiv 2305.05065): a T5 of four
encoder and four decoder layers, 6 heads of 64, width 128, inner width 1024, dropout 0.1, trained on every prefix of
a history.

Differences. The encoder is causal: an item's tokens see each other and all items before, so that one pass reads a
history for all targets in it, and a target costs about as many tokens as an item has, not as a history has; how far a
token is from the end, which its code then can't tell, has a bias in the attention of the decoder. No token
for the user. Codes of a level are told apart from those of that level alone (the paper's softmax is over all levels'
tokens), in the search from those that exist behind the path (the paper's beams may end in tuples that do not exist); a
step without a choice is sure and is not computed. One bias for distances of tokens in each stack as in T5, but
attention is scaled and embeddings start small. Items that share all codes, if they were not given a suffix, share a
path's probability evenly.
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from h2rec.batching.sequences import Batch
from h2rec.models.baselines.t5 import Decoder, Encoder, KeyValue, Memory
from h2rec.models.branches.codes import reasons_by_codes
from h2rec.models.branches.generative import likelihood_scores, turned
from h2rec.models.code_table import CodeTable
from h2rec.models.code_tree import Beams, CodeTree, Paths, joined, log_shares
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
    objective = "next"

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
        self.encoder, self.decoder = Encoder(*sizes), Decoder(*sizes)
        self.tree = CodeTree(ids.codes)
        self._codes = ids.codes
        forks = torch.zeros(len(self.tree.parent), dtype=torch.bool)
        for depth in range(self.tokens.levels - 1, -1, -1):
            nodes = torch.arange(*self.tree.starts[depth : depth + 2])
            below = torch.arange(*self.tree.starts[depth + 1 : depth + 3])
            forks[nodes] = self.tree.offsets.diff()[nodes] > 1
            forks[self.tree.parent[below[forks[below]]]] = True
        self.register_buffer("forks", forks, persistent=False)

    forks: torch.Tensor
    """Behind which nodes a code is still open, bool `[G]`."""

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
        """No columns; in training also the encoded tokens, `[B, S, d]`."""
        count = len(reads) if reads.dtype == torch.int64 else reads.sum()
        nothing = torch.zeros(int(count), 0, device=items.device)
        if not self.training:
            return UserStates((nothing,))  # `counted` reads the histories itself
        return UserStates((nothing,), {"tiger": self.encode(items)})

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

    def encode(self, items: torch.Tensor) -> torch.Tensor:
        """Tokens of histories `[B, T]`, encoded, `[B, S, d]`."""
        tokens = self.tokens.vectors[self.tokens.rows(items)].flatten(1, 2)
        return self.encoder(tokens, self.tokens.levels)  # type: ignore[no-any-return]

    def memory(self, encoded: torch.Tensor, items: torch.Tensor) -> Memory:
        """Encoded histories `[B, S, d]` for a decoder whose `W` places of each see its first `items`, `[B, W]`."""
        return self.decoder.remember(encoded, items * self.tokens.levels)

    def level_logits(self, states: torch.Tensor, level: int) -> torch.Tensor:
        """Logits of a level's codes, `[.., K_l]`, for decoder states `[.., d]`; tied to the tokens."""
        codes = self.tokens.by_level(self.tokens.vectors)[level][:-1]
        return states @ codes.T

    def beams(self, recent: torch.Tensor, width: int) -> Beams:
        """Items of the most probable paths for the latest items `[n, m]` of histories, the latest first."""
        items, lengths = turned(recent[:, : self.max_length])
        parts = []
        for some, of in zip(items.split(USERS_AT_ONCE), lengths.split(USERS_AT_ONCE), strict=True):
            # Of an empty history one item of padding is seen.
            memory = self.memory(self.encode(some), of.clamp(min=1)[:, None])
            parts.append(self.tree.beam(len(some), Search(self, memory), width))
        return joined(parts, USERS_AT_ONCE)


class Search:
    """Decodes one depth after the other (`Step`); what the decoder read of a path is kept for those that go on."""

    def __init__(self, model: Tiger, memory: Memory) -> None:
        self._model = model
        self._memory = memory
        self._paths = torch.empty(0)  # user and node of each in one number, ascending
        self._past: list[KeyValue] | None = None

    def __call__(self, paths: Paths) -> torch.Tensor:
        depth, rows, nodes, places, children = paths
        model, tree = self._model, self._model.tree
        if depth == model.tokens.levels:
            return -(tree.offsets.diff()[nodes].float().log())[places]
        log_probs = self._memory.told[0][0].new_zeros(len(children))
        going = model.forks[nodes]
        if not bool(going.any()):
            return log_probs
        logits = self._logits(depth, rows[going], nodes[going])
        asked = going[places].nonzero().squeeze(1)
        of = (going.cumsum(0) - 1)[places[asked]]
        some = logits[of, tree.value[children[asked]]]
        log_probs[asked] = log_shares(some[:, None], of).squeeze(1)
        return log_probs

    def _logits(self, depth: int, rows: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
        """Logits of a level's codes behind paths `[z]`, `[z, K]`."""
        model, tree, tokens = self._model, self._model.tree, self._model.tokens
        size = len(tree.parent)
        if self._past is None:
            entry = model.begin.expand(len(rows), -1)
        else:
            before = torch.searchsorted(self._paths, rows * size + tree.parent[nodes])
            self._past = [(key[before], value[before]) for key, value in self._past]
            entry = tokens.vectors[tree.value[nodes] + tokens.starts[depth - 1]]
        self._paths = rows * size + nodes
        counts = torch.bincount(rows, minlength=len(self._memory.mask))
        rank = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        at = rows, rank, int(counts.max())
        states, self._past = model.decoder(entry[:, None], self._memory, at, self._past)
        return model.level_logits(states[:, -1], depth)


class NextTokens:
    """Mean ``-log p`` of the codes of every target, added up over the levels."""

    name = "next_tokens"

    def __init__(self, model: Tiger) -> None:
        self._model = model

    def due(self, step: int) -> bool:
        return True

    def __call__(self, batch: Batch, states: UserStates, random: np.random.Generator) -> LossTerm:
        model, tokens = self._model, self._model.tokens
        rows, places = batch.targets.nonzero(as_tuple=True)
        codes = tokens.rows(batch.targets[rows, places])
        entry = torch.cat([model.begin.expand(len(codes), 1, -1), tokens.vectors[codes[:, :-1]]], dim=1)
        # A target sees the items up to its place.
        width = batch.items.shape[1]
        seen = torch.arange(1, width + 1, device=rows.device)
        memory = model.memory(states.encoded["tiger"], seen[None])
        decoded, _ = model.decoder(entry, memory, (rows, places, width))
        codes = codes - tokens.starts
        losses = [
            F.cross_entropy(model.level_logits(decoded[:, level], level), codes[:, level])
            for level in range(tokens.levels)
        ]
        figures = {f"loss/level_{level + 1}": float(loss.detach()) for level, loss in enumerate(losses)}
        return LossTerm(torch.stack(losses).sum(), 1.0, figures)
