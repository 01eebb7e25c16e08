"""LLM-ESR: two views of a sequence, and what similar users do as a teacher.

Liu et al., "LLM-ESR: Large Language Models Enhancement for Long-tailed Sequential Recommendation", NeurIPS 2024
(arXiv 2405.20646). The semantic view enters as frozen text embeddings through an adapter, the collaborative view as
hash IDs that start from a PCA of the text (section 3.2). Each view reads the other by cross-attention; the users'
vectors of both views are concatenated, and so are the items'. A user's vector is drawn to the mean of those of
similar users, found by the text of their histories (section 3.3, retrieval-augmented self-distillation).

Where this departs from the authors' code: users and items meet in one cosine over both views (`score: {kind: inner}`
takes their inner product); 16 sequences of a batch are distilled, not all (`sequences`); a view is kept beside what it
reads from the other (`residual: false` replaces it, as theirs does); all positions are trained in one pass, so the
cross-attention is causal wherever the backbone is (theirs sees the whole input, which predicts one item only); and
similar users are found by the mean text embedding of their histories instead of an embedding of a prompt that lists
them.
"""

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch.nn import functional as F

from h2rec.batching.sequences import Batch, history_batch, pack
from h2rec.data.histories import Histories, IntArray
from h2rec.models.backbones import make_backbone
from h2rec.models.backbones.transformer import places_from_end
from h2rec.models.baselines.text_table import frozen_text
from h2rec.models.hid import hid_table, reading_of
from h2rec.models.protocol import BranchVectors, UserStates, positions_read, read
from h2rec.models.scoring import item_side, user_side
from h2rec.models.settings import ModelSettings

TEACHER_TOKENS = 4096
"""Positions in one forward pass of the teacher."""


class LlmEsr(nn.Module):
    """Dual view and self-distillation.

    Parameters
    ----------
    text
        Text embeddings, float32 `[N, m]`; never trained.
    train
        Training histories, the pool of similar users; None where the model is only used.
    """

    branches: tuple[str, ...] = ("dual",)
    text: torch.Tensor

    def __init__(
        self, settings: ModelSettings, text: npt.NDArray[np.float32], train: Histories | None = None
    ) -> None:
        super().__init__()
        own, dim = settings.llm_esr, settings.dim
        self.settings = settings
        self.item_count = len(text)
        self.max_length = settings.max_length
        self.objective, self.mask_item = reading_of(settings.backbone, settings, len(text))
        self.register_buffer("text", frozen_text(text))
        hidden = max(dim, text.shape[1] // 2)
        self.adapter = nn.Sequential(nn.Linear(text.shape[1], hidden), nn.Linear(hidden, dim))
        self.hid = hid_table(len(text), dim)
        self.hid_encoder = make_backbone(settings.backbone, settings)
        self.text_encoder = (
            self.hid_encoder if own.share_encoder else make_backbone(settings.backbone, settings)
        )
        if own.cross_attention:
            self.positions = nn.Embedding(settings.max_length, dim)
            nn.init.normal_(self.positions.weight, std=0.02)
            causal = self.hid_encoder.causal
            self.hid_reads_text = ViewCrossAttention(dim, own.cross_heads, causal=causal)
            self.text_reads_hid = ViewCrossAttention(dim, own.cross_heads, causal=causal)
        self._train_histories = train
        self._similar: IntArray | None = None

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` in both views and read `n` positions: ``[u^co; u^se]``, `[n, 2d]`."""
        state = self._encode(items, lengths, reads)
        return UserStates((user_side(state, self.settings.score),), user_state=state)

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors ``[h_v; adapter(t_v)]``, one tensor `[M, 2d]`."""
        both = torch.cat([self.hid(items), self.adapter(self.text[items])], dim=-1)
        return (item_side(both, self.settings.score),)

    def extra_terms(
        self, batch: Batch, states: UserStates, random: np.random.Generator
    ) -> dict[str, tuple[float, torch.Tensor]]:
        """Self-distillation: mean squared distance to the teacher, for a sample of the batch's sequences."""
        own = self.settings.llm_esr
        if not own.distillation or self._train_histories is None or batch.users is None:
            return {}
        rows = np.arange(len(batch.items))
        if len(rows) > own.sequences:
            rows = np.sort(random.choice(rows, own.sequences, replace=False))
        chosen = torch.from_numpy(rows).to(batch.items.device)
        # A sequence's user vector is the one that its last target is predicted from.
        reads = batch.targets > 0
        assert states.user_state is not None
        student = states.user_state[reads.sum(1).cumsum(0)[chosen] - 1]
        teacher = self.teacher(batch.users[chosen].cpu().numpy(), random)
        return {"distillation": (own.distillation, F.mse_loss(student, teacher))}

    def teacher(self, users: IntArray, random: np.random.Generator) -> torch.Tensor:
        """Mean user vector of the users similar to each of the given ones, `[n, 2d]`, without a gradient."""
        assert self._train_histories is not None
        if self._similar is None:
            wanted = self.settings.llm_esr.similar_users
            self._similar = similar_users(self._train_histories, self.text.cpu().numpy(), wanted)
        similar = self._similar[users]  # [n, S]
        distinct, place = np.unique(similar, return_inverse=True)
        vectors = self.hid.weight.new_empty(len(distinct), 2 * self.settings.dim)
        lengths = np.minimum(self._train_histories.lengths[distinct], self.max_length)
        with torch.no_grad():
            for rows in pack(np.maximum(lengths, 1), TEACHER_TOKENS, random):
                items, ends = history_batch(
                    self._train_histories, distinct[rows], self.max_length, self.mask_item
                )
                items, ends = items.to(vectors.device), ends.to(vectors.device)
                last = torch.arange(items.shape[1], device=items.device) == (ends - 1)[:, None]
                vectors[torch.from_numpy(rows)] = self._encode(items, ends, last)
            return vectors[torch.from_numpy(place.reshape(similar.shape))].mean(1)

    def _encode(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> torch.Tensor:
        hid, text = self.hid(items), self.adapter(self.text[items])
        if self.settings.llm_esr.cross_attention:
            hid, text = self._cross(hid, text, lengths)
        at = positions_read(reads)
        views = read(self.hid_encoder(hid, lengths), at), read(self.text_encoder(text, lengths), at)
        return torch.cat(views, dim=-1)

    def _cross(
        self, hid: torch.Tensor, text: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # Attention alone knows no order.
        steps = torch.arange(hid.shape[1], device=hid.device)
        position = self.positions(places_from_end(lengths, steps, self.positions.num_embeddings))
        hid, text = hid + position, text + position
        # The one view asks, the other answers: the answer is made of the view it stands for (equation 4).
        new_hid = self.hid_reads_text(text, hid, lengths)
        new_text = self.text_reads_hid(hid, text, lengths)
        if self.settings.llm_esr.residual:
            return hid + new_hid, text + new_text
        return new_hid, new_text


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
        both = self.key_value(answering).view(batch, steps, 2, self.heads, dim // self.heads)
        key, value = both.permute(2, 0, 3, 1, 4)
        visible = None
        if not self.causal:
            visible = (torch.arange(steps, device=asking.device) < lengths[:, None])[:, None, None, :]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, is_causal=self.causal)
        return self.out(read.transpose(1, 2).reshape(batch, steps, dim))  # type: ignore[no-any-return]


def similar_users(train: Histories, text: npt.NDArray[np.float32], count: int) -> IntArray:
    """Find the users whose histories read most alike.

    Histories are compared by the cosine of their mean text embeddings. Distances are made and reduced in chunks:
    memory grows with the number of users, not with its square.

    Parameters
    ----------
    text
        Text embeddings by item index, at least `[N + 1, m]`, padding first.
    count
        Similar users to find for each.

    Returns
    -------
    IntArray
        Rows of the histories, `[U, min(count, users with a history - 1)]`, never the user's own; best first.
    """
    known = np.flatnonzero(train.lengths > 0)
    nearest = NearestNeighbors(n_neighbors=max(1, min(count, len(known) - 1)), algorithm="brute")
    means = _mean_text(train, text)
    nearest.fit(means[known])
    found = np.empty((len(train), nearest.n_neighbors), dtype=np.int64)
    # Without arguments, a point is not among its own neighbours.
    found[known] = known[nearest.kneighbors(return_distance=False)]
    unknown = np.flatnonzero(train.lengths == 0)
    if len(unknown):
        found[unknown] = known[nearest.kneighbors(means[unknown], return_distance=False)]
    return found


def _mean_text(train: Histories, text: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit-length mean text embedding of every history, `[U, m]`; zero for an empty one."""
    membership = sparse.csr_matrix(
        (np.ones(len(train.items), np.float32), np.asarray(train.items), np.asarray(train.offsets)),
        shape=(len(train), len(text)),
    )
    sums: npt.NDArray[np.float32] = np.asarray(membership @ text, dtype=np.float32)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return sums
