"""LLM-ESR: two views of a sequence, and similar users as a teacher.

Liu et al., "LLM-ESR: Large Language Models Enhancement for Long-tailed Sequential Recommendation", NeurIPS 2024
(arXiv 2405.20646). The semantic view enters as frozen text embeddings through an adapter, the collaborative view as
hash IDs that start from a PCA of the text (section 3.2). Each view reads the other by cross-attention; the users'
vectors of both views are concatenated, and so are the items'. A user's vector is drawn to the mean of those of
similar users, found by the text of their histories (section 3.3, retrieval-augmented self-distillation).

Differences from the authors' code: scores are one cosine over both views (`temperature: null` takes their inner
product); 16 sequences of a batch are distilled, not all; a view is added to what it reads from the other (theirs is
replaced; no kept search chose that); all positions are trained in one pass, with a causal cross-attention if the
backbone is causal (theirs sees the whole input, and predicts one item); similar users have similar mean text embeddings
of their histories (theirs embed a prompt that lists them).
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch.nn import functional as F

from h2rec import collectives, distributed
from h2rec.batching.sequences import Batch, history_batch, pack
from h2rec.data.histories import Histories, IntArray
from h2rec.models.backbones import make_backbone
from h2rec.models.backbones.transformer import places_from_end
from h2rec.models.baselines.ids_and_text import grown_text, stored_text
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.item_table import IdTable
from h2rec.models.protocol import (
    BranchVectors,
    LossTerm,
    OwnLoss,
    SequenceModel,
    UserStates,
    positions_read,
)
from h2rec.models.score import Score
from h2rec.models.settings import EncoderSettings, ModelSettings
from h2rec.models.warm_start import TextStart

TEACHER_TOKENS = 4096
"""Positions in one forward pass of the teacher."""
CROSS_HEADS = 2
"""Heads of the attention between the views."""
SEQUENCES = 16
"""Most sequences of a batch that are distilled; each costs the teacher `SIMILAR_USERS` forward passes."""
SIMILAR_USERS = 10
"""Users whose mean is the teacher."""


class LlmEsrSettings(EncoderSettings):
    """LLM-ESR: dual view and distillation from similar users."""

    name: Literal["llm_esr"] = "llm_esr"
    """llm_esr."""
    distillation: float = Field(
        0.1, ge=0, json_schema_extra={"search": {"low": 0.01, "high": 1.0, "log": True}}
    )
    """Weight of the self-distillation."""

    @property
    def reads_text(self) -> bool:
        return True

    @model_validator(mode="after")
    def _cross_heads_fit(self) -> Self:
        if self.dim % CROSS_HEADS:
            raise ValueError(
                f"dim ({self.dim}) is not divisible by the {CROSS_HEADS} heads between the views"
            )
        return self


class LlmEsr(SequenceModel):
    """Dual view and self-distillation.

    `text`: text embeddings by item index, float32 `[N + 2, m]`; never trained.
    """

    settings_class = LlmEsrSettings
    branch_names = ("dual",)
    branch_weights = (1.0,)
    text: torch.Tensor

    def __init__(self, settings: LlmEsrSettings, text: torch.Tensor) -> None:
        super().__init__()
        dim = settings.dim
        self.settings = settings
        self.item_count = len(text) - 2
        self.max_length = settings.max_length
        self.objective = settings.objective
        if self.objective == "cloze":
            self.mask_item, self.mask_share = self.item_count + 1, settings.mask_share
        self.score = Score(settings.temperature)
        self.register_buffer("text", text)
        hidden = max(dim, text.shape[1] // 2)
        self.adapter = nn.Sequential(nn.Linear(text.shape[1], hidden), nn.Linear(hidden, dim))
        self.ids = IdTable(self.item_count, dim)
        self.encoder = make_backbone(settings)  # one for both views, as in the paper
        self.positions = nn.Embedding(settings.max_length, dim)
        nn.init.normal_(self.positions.weight, std=0.02)
        causal = self.encoder.causal
        self.ids_read_text = ViewCrossAttention(dim, CROSS_HEADS, causal=causal)
        self.text_reads_ids = ViewCrossAttention(dim, CROSS_HEADS, causal=causal)

    @classmethod
    def build(cls, settings: ModelSettings, features: ItemFeatures) -> Self:
        assert isinstance(settings, LlmEsrSettings)
        return cls(settings, stored_text(features, "text", "model llm_esr"))

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` in both views and read `n` positions: ``[u^co; u^se]``, `[n, 2d]`."""
        state = self.encode(items, lengths, reads)
        return UserStates((self.score.user_side(state),), {"dual": state})

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors ``[h_v; adapter(t_v)]``, one tensor `[M, 2d]`."""
        joined = torch.cat([self.ids(items), self.adapter(self.text[items])], dim=-1)
        return (self.score.item_side(joined),)

    def start(self, text: TextStart) -> None:
        self.ids.start(text)

    def own_losses(self, features: ItemFeatures) -> Sequence[OwnLoss]:
        return [Distillation(self, features.train)] if self.settings.distillation and features.train else []

    @property
    def refuses_new_items(self) -> str | None:
        return None

    def grow(self, smaller: Self, new: NewItems) -> None:
        weights = smaller.state_dict().items()
        same_shape = {name: w for name, w in weights if not name.startswith("ids.") and name != "text"}
        self.load_state_dict(same_shape, strict=False)
        self.ids.grow(smaller.ids, new)
        self.text.copy_(grown_text(smaller.text, new))

    def encode(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> torch.Tensor:
        """Both views at the positions read, before they are scaled, `[n, 2d]`."""
        hid, text = self._cross(self.ids(items), self.adapter(self.text[items]), lengths)
        at = positions_read(reads)
        views = self.encoder.read(hid, lengths, at), self.encoder.read(text, lengths, at)
        return torch.cat(views, dim=-1)

    def _cross(
        self, hid: torch.Tensor, text: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # Attention alone knows no order.
        steps = torch.arange(hid.shape[1], device=hid.device)
        position = self.positions(places_from_end(lengths, steps, self.positions.num_embeddings))
        hid, text = hid + position, text + position
        # Each view is queried by the other; the result is made of the queried view (equation 4).
        new_hid = self.ids_read_text(text, hid, lengths)
        new_text = self.text_reads_ids(hid, text, lengths)
        return hid + new_hid, text + new_text


class Distillation:
    """Mean squared distance of a user's vector to the mean of similar users', for a sample of a batch's sequences.

    Similar users come from the training histories.
    """

    name = "distillation"

    def __init__(self, model: LlmEsr, train: Histories) -> None:
        self._model = model
        self._train = train
        self._similar: IntArray | None = None

    def due(self, step: int) -> bool:
        return True

    def __call__(self, batch: Batch, states: UserStates, random: np.random.Generator) -> LossTerm:
        # The user vector of a sequence is the one that its last target is predicted from.
        users = batch.whole.users
        assert users is not None
        rows = np.arange(len(users))
        if len(rows) > SEQUENCES:
            rows = np.sort(random.choice(rows, SEQUENCES, replace=False))
        teacher = self.teacher(users[torch.from_numpy(rows).to(users.device)].cpu().numpy(), random)
        # Each worker distils those that are in its part.
        own = (rows >= batch.rows.start) & (rows < batch.rows.stop)
        chosen = torch.from_numpy(rows[own] - batch.rows.start).to(batch.items.device)
        reads = batch.targets > 0
        student = states.encoded["dual"][reads.sum(1).cumsum(0)[chosen] - 1]
        own_teacher = teacher[torch.from_numpy(own).to(teacher.device)]
        if batch.part is None:
            value = F.mse_loss(student, own_teacher)
        else:
            value = F.mse_loss(student, own_teacher, reduction="sum") / teacher.numel()
        return LossTerm(value, self._model.settings.distillation, adds_up=True)

    def teacher(self, users: IntArray, random: np.random.Generator) -> torch.Tensor:
        """Mean user vector of the users similar to each of the given ones, `[n, 2d]`, without a gradient."""
        model, train = self._model, self._train
        if self._similar is None:
            self._similar = similar_users(train, model.text.cpu().numpy(), SIMILAR_USERS)
        similar = self._similar[users]  # [n, S]
        distinct, place = np.unique(similar, return_inverse=True)
        vectors = model.ids.vectors.weight.new_zeros(len(distinct), 2 * model.settings.dim)
        lengths = np.minimum(train.lengths[distinct], model.max_length)
        with torch.no_grad():
            batches = pack(np.maximum(lengths, 1), TEACHER_TOKENS, random)
            for rows in batches[distributed.rank() :: distributed.size()]:
                items, ends = history_batch(train, distinct[rows], model.max_length, model.mask_item)
                items, ends = items.to(vectors.device), ends.to(vectors.device)
                last = torch.arange(items.shape[1], device=items.device) == (ends - 1)[:, None]
                vectors[torch.from_numpy(rows)] = model.encode(items, ends, last)
            collectives.add_up(vectors)
            return vectors[torch.from_numpy(place.reshape(similar.shape))].mean(1)


class ViewCrossAttention(nn.Module):
    """Queries of one view over keys and values of the other."""

    def __init__(self, dim: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, asking: torch.Tensor, answering: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Both `[B, T, d]`, padded on the right, to `[B, T, d]`."""
        batch, steps, dim = asking.shape
        query = self.query(asking).view(batch, steps, self.heads, -1).transpose(1, 2)
        key_value = self.key_value(answering).view(batch, steps, 2, self.heads, dim // self.heads)
        key, value = key_value.permute(2, 0, 3, 1, 4)
        visible = None
        if not self.causal:
            visible = (torch.arange(steps, device=asking.device) < lengths[:, None])[:, None, None, :]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, is_causal=self.causal)
        return self.out(read.transpose(1, 2).reshape(batch, steps, dim))  # type: ignore[no-any-return]


def similar_users(train: Histories, text: npt.NDArray[np.float32], count: int) -> IntArray:
    """Find the users whose histories read most alike.

    Histories are compared by the cosine of their mean text embeddings, in chunks: memory is linear in the users.

    `text`: text embeddings by item index, at least `[N + 1, m]`, padding first.
    `count`: similar users to find for each.

    Returns rows of the histories, `[U, min(count, users with a history - 1)]`, never the user's own; best first.
    """
    known = np.flatnonzero(train.lengths > 0)
    nearest = NearestNeighbors(n_neighbors=max(1, min(count, len(known) - 1)), algorithm="brute")
    means = _mean_text(train, text)
    nearest.fit(means[known])
    similar = np.empty((len(train), nearest.n_neighbors), dtype=np.int64)
    # Without arguments, a point is not among its own neighbours.
    similar[known] = known[nearest.kneighbors(return_distance=False)]
    unknown = np.flatnonzero(train.lengths == 0)
    if len(unknown):
        similar[unknown] = known[nearest.kneighbors(means[unknown], return_distance=False)]
    return similar


def _mean_text(train: Histories, text: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit-length mean text embedding of every history, `[U, m]`; zero for an empty one."""
    membership = sparse.csr_matrix(
        (np.ones(len(train.items), np.float32), np.asarray(train.items), np.asarray(train.offsets)),
        shape=(len(train), len(text)),
    )
    sums: npt.NDArray[np.float32] = np.asarray(membership @ text, dtype=np.float32)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return sums
