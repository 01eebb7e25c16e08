"""H2Rec: hash IDs and semantic IDs in two branches (arXiv 2512.10388)."""

import torch
from torch import nn

from h2rec.data.histories import IntArray
from h2rec.models.backbones import Backbone, make_backbone
from h2rec.models.branch_items import BranchItems, DenseItems
from h2rec.models.code_branch import CodeBranch, TreeBranch
from h2rec.models.code_table import CodeTable, weighted_sum
from h2rec.models.code_tree import prefix_nodes
from h2rec.models.cross_attention import MultiGranularityCrossAttention
from h2rec.models.fusion import FusionNetwork, intent_features
from h2rec.models.hid import hid_table, reading_of
from h2rec.models.identity import ItemResidual, MaturityBalance, PopularityPrior
from h2rec.models.protocol import (
    BranchVectors,
    UserStates,
    positions_read,
    read,
)
from h2rec.models.row_sum import RowSum
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
        self.uses_hybrid = settings.residual.enabled and settings.residual.branch == "own"
        both = ("sid", "hybrid", "hid") if self.uses_hybrid else ("sid", "hid")
        self.branches: tuple[str, ...] = both if settings.branches == "both" else (settings.branches,)
        if settings.score.popularity:
            self.branches += ("popularity",)
            self.popularity = PopularityPrior(item_count, train_counts, settings.score.popularity)
        # Alone, a branch is weighed against nothing: its score is as sharp as the temperature says.
        self.sid_weight = settings.score.sid_weight if settings.branches == "both" else 1.0
        weights = {
            "sid": self.sid_weight,
            "hybrid": settings.residual.weight,
            "hid": 1.0,
            "popularity": settings.score.popularity,
        }
        self.branch_weights = tuple(weights[branch] for branch in self.branches)
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
            self.sid_encoder = self._encoder_of_codes()
            if self.uses_hybrid:
                if settings.residual.codes == "prefixes":
                    self.nodes = RowSum(*prefix_nodes(codes[1:]), settings.dim, stored=False)
                else:
                    # A table of its own: vectors that rank without a residual are not those that rank with one.
                    self.hybrid_codes = CodeTable(codes, codebook_sizes, settings.dim)
                self.hybrid_encoder = self._encoder_of_codes(settings.residual.layers)
        if self.uses_mca:
            self.mca = MultiGranularityCrossAttention(settings.dim, settings.mca_heads)
        if self.uses_sid and settings.residual.enabled:
            self.residual = ItemResidual(item_count, settings.dim, settings.residual.shrink, train_counts)
        if settings.score.maturity:
            self.maturity = MaturityBalance(item_count, train_counts)
        if settings.projection_heads:
            self.sid_head = nn.Linear(settings.dim, settings.dim)
            self.hid_head = nn.Linear(settings.dim, settings.dim)

    def _encoder_of_codes(self, layers: int | None = None) -> Backbone:
        settings = self.settings
        if self.uses_hid and settings.share_encoder:
            return self.hid_encoder
        return make_backbone(settings.backbone, settings.of_codes, layers or settings.sid_layers)

    @property
    def modules_of_codes(self) -> tuple[nn.Module, ...]:
        """What the branches of codes are made of; an encoder that all share is the HID branch's."""
        names = ["codes", "fusion", "residual", "nodes", "hybrid_codes", "sid_head"]
        if not (self.uses_hid and self.settings.share_encoder):
            names += ["sid_encoder", "hybrid_encoder"]
        return tuple(getattr(self, name) for name in names if hasattr(self, name))

    @property
    def code_branches(self) -> tuple[CodeBranch | TreeBranch, ...]:
        """The branches made of codes: the SID branch, and the hybrid one if there is one."""
        if not self.uses_sid:
            return ()
        score = self.settings.of_codes.score
        residual = self.residual if self.settings.residual.enabled else None
        in_sid = None if self.uses_hybrid else residual
        sid = CodeBranch(self.codes, self.sid_encoder, in_sid, score, score.normalise, self.sid_weight)
        if not self.uses_hybrid:
            return (sid,)
        weight = self.settings.residual.weight
        if self.settings.residual.codes == "prefixes":
            return sid, TreeBranch(self.nodes, self.hybrid_encoder, self.residual, score, weight)
        # Lengths tell how much of an item its codes are: only the whole can have unit length.
        return sid, CodeBranch(self.hybrid_codes, self.hybrid_encoder, residual, score, "item", weight)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor, reads: torch.Tensor) -> UserStates:
        """Encode `[B, T]` and read the `n` positions set in `reads`; alpha is computed once, for all branches."""
        at = positions_read(reads)
        if not self.uses_sid:
            states = read(self.hid_encoder(self.hid(items), lengths), at)
            return UserStates(self._with_prior((user_side(states, self.settings.score),)))
        rows = self.codes.rows(items)  # [B, T, L]
        alpha = self.intent(items, lengths, rows)  # [B, T, L]
        read_alpha = read(alpha, at)
        code_states, vectors = [], []
        for branch in self.code_branches:
            code_states.append(read(branch.encoder(branch.fused(items, rows, alpha), lengths), at))
            vectors.append(branch.user(code_states[-1], read_alpha))
        norms = None
        if self.uses_hid:
            entry, norms = self._enrich(self.hid(items), rows, alpha)
            hid_state = read(self.hid_encoder(entry, lengths), at)
            vectors.append(user_side(hid_state, self.settings.score))
        return UserStates(self._with_prior(tuple(vectors)), tuple(code_states), alpha, read_alpha, norms)

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
        branch = self.code_branches[0]
        states = branch.encoder(branch.fused(items, rows, alpha), lengths)
        return states[torch.arange(len(items), device=items.device), at]

    def item_vectors(self, items: torch.Tensor) -> BranchVectors:
        """Static item vectors, a tensor a branch, in the order of `branches`.

        ``[e^1; ..; e^L]`` `[M, L d]` for the SID branch, with its residual `[M, (L + 1) d]`; the hybrid branch's
        codes and residual `[M, (L + 1) d]`, or the sum of its prefixes `[M, d]`; ``h`` `[M, d]` for the HID branch; and
        a column of popularity `[M, 1]` where it has a weight.
        """
        return tuple(branch.vectors() for branch in self.branch_items(items))

    def branch_items(self, items: torch.Tensor) -> tuple[BranchItems, ...]:
        """Items `[M]` of every branch, those made of codes as codes: `item_vectors` in the form that scores fastest."""
        found: list[BranchItems] = [branch.items(items) for branch in self.code_branches]
        if self.uses_hid:
            found.append(DenseItems(item_side(self.hid(items), self.settings.score)))
        if self._balanced:
            sid_scale, hid_scale = self.maturity(items)
            found[0], found[-1] = found[0].scaled(sid_scale), found[-1].scaled(hid_scale)
        if self.settings.score.popularity:
            found.append(DenseItems(self.popularity.item(items)))
        return tuple(found)

    def score_targets(
        self, states: UserStates, targets: torch.Tensor, items: torch.Tensor
    ) -> tuple[BranchVectors, BranchVectors]:
        """Scores of each position's target, `[n]` a branch, and of shared items, `[n, M]` a branch.

        Equal to the inner products with `item_vectors`; codes are scored by `code_scores`.
        """
        own, shared = [], []
        for branch, state in zip(self.code_branches, states.code_states, strict=True):
            assert states.read_alpha is not None
            one, all_items = branch.scores(state, states.read_alpha, targets, items)
            own.append(one)
            shared.append(all_items)
        if self.uses_hid:
            user, score = states.vectors[len(states.code_states)], self.settings.score
            own.append((user * item_side(self.hid(targets), score)).sum(-1))
            shared.append(user @ item_side(self.hid(items), score).T)
        if self._balanced:
            for place, own_scale, scale in zip(
                (0, -1), self.maturity(targets), self.maturity(items), strict=True
            ):
                own[place], shared[place] = own[place] * own_scale.squeeze(1), shared[place] * scale.T
        if self.settings.score.popularity:
            prior, user = self.popularity, states.vectors[-1]
            own.append((user * prior.item(targets)).sum(-1))
            shared.append(user @ prior.item(items).T)
        return tuple(own), tuple(shared)

    def _with_prior(self, vectors: BranchVectors) -> BranchVectors:
        if not self.settings.score.popularity:
            return vectors
        return (*vectors, self.popularity.user(vectors[0]))

    @property
    def _balanced(self) -> bool:
        return self.settings.score.maturity and self.uses_sid and self.uses_hid

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
