"""The weighted sum of the loss terms for one batch: where model, negatives and losses meet."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from h2rec.batching.cooccurrence import cooccurrence, neighbours_within
from h2rec.batching.negatives import NegativeSampler
from h2rec.batching.sequences import Batch
from h2rec.data.histories import Histories
from h2rec.losses.contrastive import info_nce, multi_positive_info_nce
from h2rec.losses.positives import share_levels
from h2rec.losses.ranking import bce_loss, bpr_loss, gbce_loss, sampled_softmax_loss, softmax_loss
from h2rec.losses.settings import AlignmentSettings, LossSettings, MaskingSettings
from h2rec.models import blocks
from h2rec.models.h2rec import H2Rec
from h2rec.models.protocol import SequenceModel, UserStates, paired_branch_scores, scores_of_targets
from h2rec.models.scoring import joint_score, saturation_ceiling
from h2rec.semantic_ids.codes import CodeArray


@dataclass(frozen=True, eq=False)
class Terms:
    """Loss terms by name, and their weights; `total` is what is minimised.

    Parameters
    ----------
    values, weights
        By name of the term.
    positives_per_item, items_compared
        Mean size of the alignment's positive sets and how many items it compared, if there is an alignment.
    margins
        For each branch, how far its score of the target lies above its mean over the negatives, `[n]`;
        the part of the decision that the branch takes.
    """

    values: dict[str, torch.Tensor]
    weights: dict[str, float]
    positives_per_item: float | None = None
    items_compared: int | None = None
    margins: tuple[torch.Tensor, ...] | None = None

    @property
    def total(self) -> torch.Tensor:
        """Weighted sum, a scalar."""
        return torch.stack([self.weights[name] * value for name, value in self.values.items()]).sum()


class TrainingObjective:
    """Computes all loss terms of a batch.

    Parameters
    ----------
    settings
        Which terms, with which weights.
    train
        Training histories: the only source of popularity and of co-occurrence.
    item_count
        N.
    codes
        `[N + 1, L]`, padding first; None for a model without codes.
    """

    def __init__(
        self, settings: LossSettings, train: Histories, item_count: int, codes: CodeArray | None = None
    ) -> None:
        self.settings = settings
        counts = train.counts(item_count)
        self.sampler = NegativeSampler(settings.negatives, counts)
        self.train_counts = torch.from_numpy(counts)
        self.item_count = item_count
        self.codes = None if codes is None else torch.from_numpy(codes).long()
        window = settings.alignment.window if codes is not None and settings.beta else 0
        self.neighbours: sparse.csr_matrix | None = (
            cooccurrence(train, item_count, window) if window else None
        )

    def __call__(
        self,
        model: SequenceModel,
        batch: Batch,
        random: np.random.Generator,
        *,
        step: int = 0,
        margins: bool = False,
    ) -> tuple[Terms, UserStates]:
        """Return loss terms of a batch and the states they were computed from.

        `step` counts the batches of the whole training, for the terms that only some of them compute; the branches'
        margins are there if asked for.
        """
        reads = batch.targets > 0
        states = blocks.encode(model, batch, reads)
        targets = batch.targets[reads]
        values, found = self._ranking(model, states, targets, random, margins)
        joint, own = self._ranking_weights(model)
        weights = dict.fromkeys(values, own) | {"ranking": joint}
        positives = compared = None
        settings = self.settings
        if (
            isinstance(model, H2Rec)
            and model.uses_sid
            and model.uses_hid
            and self._due(settings.beta, settings.alignment, step)
        ):
            values["alignment"], positives, compared = self.alignment(model, targets, random)
            weights["alignment"] = settings.beta * settings.alignment.every
        if isinstance(model, H2Rec) and model.uses_sid and self._due(settings.gamma, settings.masking, step):
            values["masking"] = self._masking(model, batch, states, random)
            weights["masking"] = settings.gamma * settings.masking.every
        # A baseline may bring loss terms of its own.
        if hasattr(model, "extra_terms"):
            for name, (weight, value) in model.extra_terms(batch, states, random).items():
                weights[name], values[name] = weight, value
        return Terms(values, weights, positives, compared, found), states

    def _ranking_weights(self, model: SequenceModel) -> tuple[float, float]:
        """Weights of the joint ranking loss and of each branch's own."""
        if len(model.branches) == 1:
            return 1.0, 0.0
        if getattr(model, "independent", False):
            return 0.0, 1.0
        return self.settings.joint, self.settings.branch

    @staticmethod
    def _own_branches(model: SequenceModel) -> list[str]:
        """Branches that count in the sum, and so can rank."""
        weights = _branch_weights(model)
        return [branch for branch, weight in zip(model.branches, weights, strict=True) if weight]

    @staticmethod
    def _due(weight: float, term: AlignmentSettings | MaskingSettings, step: int) -> bool:
        return weight > 0 and step % term.every == 0

    def _ranking(
        self,
        model: SequenceModel,
        states: UserStates,
        targets: torch.Tensor,
        random: np.random.Generator,
        margins: bool,
    ) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...] | None]:
        joint, own = self._ranking_weights(model)
        names = ["ranking"] if joint else []
        names += [f"ranking_{branch}" for branch in self._own_branches(model)] if own else []
        if self.settings.ranking == "softmax":
            catalogue = torch.arange(1, self.item_count + 1, device=targets.device)
            positive, scores = scores_of_targets(model, states, targets, catalogue)
            losses = [softmax_loss(score, targets) for score in self._chosen(model, scores, scores, names)]
            return dict(zip(names, losses, strict=True)), self._margins(positive, scores, margins)
        negatives, log_count = self.sampler.draw(targets, random)
        negatives = negatives.to(targets.device)
        if isinstance(log_count, torch.Tensor):
            log_count = log_count.to(targets.device)
        if negatives.dim() == 1:
            positive, negative = scores_of_targets(model, states, targets, negatives)
        else:
            positive = paired_branch_scores(states.vectors, model.item_vectors(targets))
            negative = _scores_of_own_negatives(model, states, negatives)
        hit = _hits(targets, negatives)
        pairs = zip(
            self._chosen(model, positive, negative, names),
            self._chosen(model, negative, negative, names),
            strict=True,
        )
        losses = [self._sampled(plus, minus, hit, log_count) for plus, minus in pairs]
        return dict(zip(names, losses, strict=True)), self._margins(positive, negative, margins)

    @staticmethod
    def _margins(
        positive: tuple[torch.Tensor, ...], compared: tuple[torch.Tensor, ...], wanted: bool
    ) -> tuple[torch.Tensor, ...] | None:
        if not wanted:
            return None
        pairs = zip(positive, compared, strict=True)
        return tuple(own.detach() - others.detach().mean(1) for own, others in pairs)

    def _chosen(
        self,
        model: SequenceModel,
        scores: tuple[torch.Tensor, ...],
        compared: tuple[torch.Tensor, ...],
        names: list[str],
    ) -> list[torch.Tensor]:
        """Return the scores that the named losses look at: the joint one, each branch's own, or all of them."""
        joint = [self._joint(model, scores, compared)] if "ranking" in names else []
        if len(names) == len(joint):
            return joint
        # What a branch weighs in the sum is no temperature of its own loss.
        weights = _branch_weights(model)
        return joint + [score / weight for score, weight in zip(scores, weights, strict=True) if weight]

    def _joint(
        self, model: SequenceModel, scores: tuple[torch.Tensor, ...], compared: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """Add the branches up; where the SID score saturates, its ceiling is estimated from the compared items."""
        rank = getattr(model, "saturate_at", None)
        ceiling = None if rank is None else saturation_ceiling(compared[0], rank, self.item_count)
        return joint_score(scores, ceiling)

    def _sampled(
        self,
        positive: torch.Tensor,
        negative: torch.Tensor,
        hit: torch.Tensor,
        log_count: torch.Tensor | float,
    ) -> torch.Tensor:
        match self.settings.ranking:
            case "bpr":
                return bpr_loss(positive, negative, hit)
            case "bce":
                return bce_loss(positive, negative, hit)
            case "gbce":
                return gbce_loss(positive, negative, hit, self.item_count, self.settings.gbce_t)
            case _:
                corrected = log_count if self.settings.negatives.log_q else None
                return sampled_softmax_loss(positive, negative, hit, corrected)

    def alignment(
        self, model: H2Rec, targets: torch.Tensor, random: np.random.Generator
    ) -> tuple[torch.Tensor, float, int]:
        """Code-guided alignment over the distinct items of some targets, mean size of the positive sets, and items.

        Its memory is the square of the items compared (`loss.alignment.items` at most), whatever the catalogue.
        """
        settings = self.settings.alignment
        items = torch.unique(targets).cpu().numpy()
        if len(items) > settings.items:
            items = np.sort(random.choice(items, settings.items, replace=False))
        assert self.codes is not None
        codes = self.codes[items]
        positives = share_levels(codes, min(settings.shared_levels, codes.shape[1]), settings.rule)
        if self.neighbours is not None:
            positives |= neighbours_within(self.neighbours, items)
        positives = positives.to(targets.device)
        rows = torch.from_numpy(items)
        sid, hid = model.alignment_views(rows.to(targets.device))
        if settings.spare_head is not None:
            passed = settings.spare_head / (settings.spare_head + self.train_counts[rows, None])
            hid = _with_gradient(hid, passed.to(hid))
        loss = multi_positive_info_nce(
            sid, hid, positives, settings.temperature, symmetric=settings.symmetric
        )
        return loss, float(positives.sum()) / len(items), len(items)

    def _masking(
        self, model: H2Rec, batch: Batch, states: UserStates, random: np.random.Generator
    ) -> torch.Tensor:
        assert states.alpha is not None
        assert states.sid_state is not None
        # Each sequence is read where its last target is predicted; the plain state is there already.
        reads = batch.targets > 0
        plain = states.sid_state[reads.sum(1).cumsum(0) - 1]
        steps = torch.arange(reads.shape[1], device=reads.device)
        at = torch.where(reads, steps, -1).max(1).values
        level = self._masked_level(states.alpha[torch.arange(len(at), device=at.device), at], random)
        view = blocks.masked_view(model, batch, states.alpha, level, at)
        return info_nce(plain, view, self.settings.masking.temperature)

    def _masked_level(self, alpha: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        match self.settings.masking.level:
            case "lowest":
                return alpha.argmin(-1)
            case "highest":
                return alpha.argmax(-1)
            case _:
                return torch.from_numpy(random.integers(0, alpha.shape[1], len(alpha))).to(alpha.device)


def _with_gradient(values: torch.Tensor, passed: torch.Tensor) -> torch.Tensor:
    """Return the values, of whose gradient only a share `passed` flows back."""
    return values * passed + values.detach() * (1 - passed)


def _branch_weights(model: SequenceModel) -> tuple[float, ...]:
    """What each branch's score weighs in the sum."""
    weights: tuple[float, ...] = getattr(model, "branch_weights", (1.0,) * len(model.branches))
    return weights


def _scores_of_own_negatives(
    model: SequenceModel, states: UserStates, negatives: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Scores of negatives that each position has for itself, `[n, M]` a branch."""
    flat = model.item_vectors(negatives.flatten())
    pairs = zip(states.vectors, flat, strict=True)
    return tuple(torch.einsum("nd,nmd->nm", user, v.view(*negatives.shape, -1)) for user, v in pairs)


def _hits(targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Rows and columns, int64 `[2, h]`, of the negatives that are the position's own target."""
    if negatives.dim() == 2:
        return (negatives == targets[:, None]).nonzero().T
    # Few targets are among the negatives at all: only these are compared.
    rows = torch.isin(targets, negatives).nonzero().squeeze(1)
    hit = (negatives == targets[rows][:, None]).nonzero().T
    return torch.stack([rows[hit[0]], hit[1]])
