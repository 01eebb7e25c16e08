"""H2Rec: hash IDs and semantic IDs in two branches (arXiv 2512.10388)."""

import torch
from torch import nn

from h2rec.data.histories import IntArray
from h2rec.models.backbones import make_backbone
from h2rec.models.code_scores import code_scores
from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.models.cross_attention import MultiGranularityCrossAttention
from h2rec.models.fusion import FusionNetwork, intent_features
from h2rec.models.hid import hid_table, reading_of
from h2rec.models.identity import ItemResidual, MaturityBalance
from h2rec.models.protocol import (
    BranchVectors,
    UserStates,
    branch_scores,
    paired_branch_scores,
    positions_read,
    read,
)
from h2rec.models.scoring import item_side, user_side
from h2rec.models.settings import ModelSettings
from h2rec.semantic_ids.codes import CodeArray


class H2Rec(nn.Module):
    """Two encoders, one alpha.

    Symbols: `B` batch, `T` steps, `L` levels, `d` hidden size, `n` positions read.
    """

    def __init__(
        self,
        settings: ModelSettings,
        item_count: int,
        codes: CodeArray,
        codebook_sizes: tuple[int, ...],
        train_counts: IntArray | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.item_count = item_count
        self.max_length = settings.max_length
        self.branches = ("sid", "hid") if settings.branches == "both" else (settings.branches,)
        self.branch_weights = tuple(settings.score.sid_weight if b == "sid" else 1.0 for b in self.branches)
        self.saturate_at = settings.score.saturate_at if settings.branches == "both" else None
        self.objective, self.mask_item = reading_of(settings.backbone, settings, item_count)
        self.uses_hid = "hid" in self.branches
        self.uses_sid = "sid" in self.branches
        self.uses_mca = self.uses_hid and self.uses_sid and settings.mca
        if self.uses_hid:
            self.hid = hid_table(item_count, settings.dim)
            self.hid_encoder = make_backbone(settings.backbone, settings)
        if self.uses_sid:
            self.codes = CodeTable(codes, codebook_sizes, settings.dim)
            self.fusion = FusionNetwork(self.codes.levels, settings.dim)
            shared = self.uses_hid and settings.share_encoder
            self.sid_encoder = (
                self.hid_encoder
                if shared
                else make_backbone(settings.backbone, settings, settings.sid_layers)
            )
        if self.uses_mca:
            self.mca = MultiGranularityCrossAttention(settings.dim, settings.mca_heads)
        if self.uses_sid and settings.residual.enabled:
            self.residual = ItemResidual(item_count, settings.dim, settings.residual.shrink, train_counts)
        if settings.score.maturity:
            self.maturity = MaturityBalance(item_count, train_counts)
        if settings.projection_heads:
            self.sid_head = nn.Linear(settings.dim, settings.dim)
            self.hid_head = nn.Linear(settings.dim, settings.dim)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` and read the `n` positions set in `reads`; alpha is computed once, for both branches."""
        at = positions_read(reads)
        if not self.uses_sid:
            states = read(self.hid_encoder(self.hid(items), lengths), at)
            return UserStates((user_side(states, self.settings.score),))
        rows = self.codes.rows(items)  # [B, T, L]
        alpha = self.intent(items, lengths, rows)  # [B, T, L]
        sid_state = read(self.sid_encoder(self._fused(items, rows, alpha), lengths), at)
        read_alpha = read(alpha, at)
        vectors: BranchVectors = (self._sid_user(sid_state, read_alpha),)
        norms = None
        if self.uses_hid:
            hid = self.hid(items)
            entry, norms = self._enrich(hid, rows, alpha)
            hid_state = read(self.hid_encoder(entry, lengths), at)
            vectors = (*vectors, user_side(hid_state, self.settings.score))
        return UserStates(vectors, sid_state, alpha, read_alpha, norms)

    def intent(self, items: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Weights of the levels at every position, `[B, T, L]`: the critical path, computed once."""
        if self.settings.fusion == "equal":
            return rows.new_full(rows.shape, 1 / self.codes.levels, dtype=self.codes.vectors.dtype)
        source = "mean" if self.settings.fusion == "mean_history" else self.settings.intent
        features = self.fusion.features(self.codes, rows)
        if source == "mean" and self.settings.intent == "last":
            means = intent_features(features, items, lengths, "mean", None)
            alpha = self.fusion(intent_features(means, items, lengths, "last", None))
        else:
            alpha = self.fusion(intent_features(features, items, lengths, source, self.mask_item))
        return alpha.expand(rows.shape).contiguous()  # type: ignore[no-any-return]

    def masked_view(
        self,
        items: torch.Tensor,
        lengths: torch.Tensor,
        alpha: torch.Tensor,
        level: torch.Tensor,
        at: torch.Tensor,
    ) -> torch.Tensor:
        """Encode sequences with one granularity masked at all positions.

        Parameters
        ----------
        items, lengths
            Sequences `[B, T]` and `[B]`.
        alpha
            Weights of the levels at every position, `[B, T, L]`; the view keeps them.
        level
            The level to mask in each sequence, int64 `[B]`.
        at
            The position to read in each sequence, int64 `[B]`.

        Returns
        -------
        torch.Tensor
            The masked user state ``u~^S``, `[B, d]`.
        """
        hidden = torch.arange(self.codes.levels, device=items.device) == level[:, None]  # [B, L]
        rows = torch.where(hidden[:, None], self.codes.mask_rows, self.codes.rows(items))
        states = self.sid_encoder(self._fused(items, rows, alpha), lengths)
        return states[torch.arange(len(items), device=items.device), at]

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors: ``[e^1; ..; e^L]`` `[M, L d]` for the SID branch, ``h`` `[M, d]` for the HID branch."""
        vectors: BranchVectors = ()
        if self.uses_sid:
            vectors = (self._sid_item(items),)
        if self.uses_hid:
            vectors = (*vectors, item_side(self.hid(items), self.settings.score))
        if self.settings.score.maturity and len(vectors) == 2:
            sid_scale, hid_scale = self.maturity(items)
            vectors = (vectors[0] * sid_scale, vectors[1] * hid_scale)
        return vectors

    def score_targets(
        self, states: UserStates, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[BranchVectors, BranchVectors]:
        """Scores of each position's target, `[n]` a branch, and of shared items, `[n, M]` a branch.

        Equal to the inner products with `item_vectors`; codes are scored by `code_scores`.
        """
        score = self.settings.score
        if not self.uses_sid or (score.kind == "cosine" and score.normalise == "item"):
            plain = paired_branch_scores(states.vectors, self.item_vectors(targets))
            return plain, branch_scores(states.vectors, self.item_vectors(items))
        assert states.sid_state is not None
        assert states.read_alpha is not None
        user = user_side(states.sid_state, score, score.sid_weight)
        vectors = item_side(self.codes.vectors, score)
        own_sid, shared_sid = code_scores(
            user, states.read_alpha, self.codes, vectors, targets=targets, items=items
        )
        if self.settings.residual.enabled:
            own_sid = own_sid + (user * self._residual_item(targets)).sum(-1)
            shared_sid = shared_sid + user @ self._residual_item(items).T
        own: BranchVectors = (own_sid,)
        shared: BranchVectors = (shared_sid,)
        if self.uses_hid:
            user = states.vectors[1]
            own = (own_sid, (user * item_side(self.hid(targets), score)).sum(-1))
            shared = (shared_sid, user @ item_side(self.hid(items), score).T)
        if score.maturity and self.uses_hid:
            own_scales, scales = self.maturity(targets), self.maturity(items)
            own = tuple(s * scale.squeeze(1) for s, scale in zip(own, own_scales, strict=True))
            shared = tuple(s * scale.T for s, scale in zip(shared, scales, strict=True))
        return own, shared

    def _sid_item(self, items: torch.Tensor) -> torch.Tensor:
        """``[e^1; ..; e^L]``, and the residual behind them where there is one, `[M, L d]` or `[M, (L + 1) d]`."""
        score, rows = self.settings.score, self.codes.rows(items)
        if score.kind == "cosine" and score.normalise == "level":
            parts = item_side(self.codes.vectors, score)[rows]
        else:
            parts = self.codes.vectors[rows]  # [M, L, d]
        if self.settings.residual.enabled:
            parts = torch.cat([parts, self._residual_item(items)[:, None]], dim=1)
        if score.kind == "cosine" and score.normalise == "item":
            # The length of the item as equal weights would fuse it: static, and alpha moves around it.
            weights = parts.new_full((parts.shape[1], 1), 1 / self.codes.levels)
            weights[self.codes.levels :] = 1
            parts = parts / (parts * weights).sum(1).norm(dim=-1).clamp(min=1e-6)[:, None, None]
        return parts.flatten(1)

    def _residual_item(self, items: torch.Tensor) -> torch.Tensor:
        """Residuals of items `[M]` in the form that scores use, `[M, d]`."""
        residual: torch.Tensor = self.residual(items)
        if self.settings.score.kind == "cosine" and self.settings.score.normalise == "level":
            residual = item_side(residual, self.settings.score) * self.residual.kept[items][:, None]
        return residual

    def _fused(self, items: torch.Tensor, rows: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        fused = weighted_sum(rows, alpha, self.codes.vectors)
        return fused + self.residual(items) if self.settings.residual.enabled else fused

    def alignment_views(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The SID side `s_i` (sum of the code vectors) and the HID side `h_i` of items `[M]`, each `[M, d]`."""
        sid, hid = weighted_sum(self.codes.rows(items), None, self.codes.vectors), self.hid(items)
        if self.settings.projection_heads:
            return self.sid_head(sid), self.hid_head(hid)
        return sid, hid

    def _enrich(
        self, hid: torch.Tensor, rows: torch.Tensor, alpha: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        if not self.uses_mca:
            return hid, None
        found = self.mca(hid, rows, alpha, self.codes)
        norms = (hid.detach().norm(dim=-1).mean(), found.detach().norm(dim=-1).mean())
        return (hid + found if self.settings.mca_residual else found), norms

    def _sid_user(self, state: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        user = user_side(state, self.settings.score, self.settings.score.sid_weight)
        weighted = (alpha[..., None] * user[:, None]).flatten(1)  # [n, L d]
        return torch.cat([weighted, user], dim=1) if self.settings.residual.enabled else weighted
