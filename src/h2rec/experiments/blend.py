"""After training: what each branch of H2Rec, or of its controls, weighs in the sum, chosen on validation.

With losses of their own the branches do not depend on their weights, so any weights can be tried on one trained model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, NonNegativeFloat

from h2rec.data.splits import Holdout
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.negatives import draw_negatives
from h2rec.evaluation.ranking import SCORES_AT_ONCE, drop_excluded, full_ranks, sampled_ranks
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import FULL, RepeatRule, sampled_negatives
from h2rec.models.baselines.hid_branches import HidBranches
from h2rec.models.h2rec import H2Rec
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.scoring import joint_score, saturation_ceiling
from h2rec.models.settings import ModelSettings
from h2rec.settings import Settings

Ranks = npt.NDArray[np.int32]

SCORES_IN_CACHE = 2**17
"""Scores of a branch that are added up and compared at once on a CPU: half a megabyte."""
CONTROLS = ("two_hid", "three_hid")


class BlendSettings(Settings):
    """How the branches' weights are chosen once the branches are trained."""

    fit: bool = True
    """Choose the weights of h2rec's branches, and of its controls' (two_hid, three_hid), on validation, by the
    metric that selects the epoch; false keeps `model.score.sid_weight`, `model.residual.weight`,
    `model.score.hid_weights` and `model.score.popularity`."""
    weights: list[NonNegativeFloat] = Field([0.0, 0.15, 0.3, 0.5, 0.8, 1.2], min_length=1)
    """Weights to try for every branch but the last, beside those that are configured."""
    popularity: list[float] = Field([])
    """Weights to try for popularity, beside none; without any it is left out. ``[0.1, 0.2, 0.3, 0.45]`` are worth a
    try where head and tail must both gain."""
    tolerance: float = Field(0.005, ge=0, lt=1)
    """Share of the best value that sharing the gain out between head and tail may cost."""


@dataclass(frozen=True)
class Blend:
    """Weights of a sum: one for every branch, in the order of the model's, and one of popularity."""

    weights: tuple[float, ...]
    popularity: float = 0.0


def can_be_fitted(settings: ModelSettings) -> bool:
    """Whether a model is a sum of branches whose weights can be chosen."""
    return (settings.name == "h2rec" and settings.branches == "both") or settings.name in CONTROLS


def fit_weights(
    model: H2Rec | HidBranches,
    cases: Holdout,
    settings: BlendSettings,
    *,
    select: str,
    head: npt.NDArray[np.bool_],
    train_counts: npt.NDArray[np.integer],
    repeats: RepeatRule,
    seed: int = 0,
) -> dict[str, Any]:
    """Rank validation cases with all combinations of weights and then with all weights of popularity; return the best.

    First the branches: the weights with the best value; of equal ones the configured weights win, then the smaller
    ones. Then, where the value is one over all cases, popularity: what the branches gain over the last one alone
    (h2rec's HID branch) is shared out between head and tail. The weight is taken with which the smaller of the two
    relative gains is largest, among those that cost at most `settings.tolerance` of the best value.

    Parameters
    ----------
    model
        A trained model, without a weight for popularity.
    cases
        Validation cases.
    select
        What is best: ``PROTOCOL.SLICE.METRIC``, as in `train.select`.
    head
        Which items are head items, bool `[N + 1]`.
    train_counts
        Training interactions of each item, `[N + 1]`.
    repeats
        Whether items of a user's history are candidates.
    seed
        Of the sampled negatives.

    Returns
    -------
    dict
        ``weights`` by branch, their ``value``, ``value_as_configured`` and how many were ``tried``; and where
        popularity was weighed, ``balance``: overall, head and tail of the last branch alone, of the branches' sum and
        of the final ranking.
    """
    protocol, part, metric = select.split(".")
    cases = measured_cases(cases, repeats)
    negatives = None
    if protocol != FULL:
        drawn = draw_negatives(cases, model.item_count, sampled_negatives(protocol), seed, repeats)
        ranked = np.flatnonzero(drawn[:, 0])
        cases, negatives = cases.select(ranked), torch.from_numpy(drawn[ranked].astype(np.int64))
    of_head = head[cases.targets]
    slices = {"overall": np.ones_like(of_head), "head": of_head, "tail": ~of_head}

    def values(tried: Sequence[Blend]) -> list[dict[str, float]]:
        ranks = _ranks(model, cases, tried, train_counts, negatives, repeats=repeats)
        return [
            {name: float(per_case(row[rows], metric).mean()) for name, rows in slices.items() if rows.any()}
            for row in ranks
        ]

    tried = [Blend(model.branch_weights), *_combinations(model, settings)]
    measured = values(tried)
    best = int(np.argmax([of_one[part] for of_one in measured]))
    found: dict[str, Any] = {
        "weights": dict(zip(model.branches, tried[best].weights, strict=True)),
        "value": measured[best][part],
        "value_as_configured": measured[0][part],
        "tried": len(tried),
        "selected_by": select,
    }
    if part == "overall" and settings.popularity and of_head.any() and not of_head.all():
        alone = Blend(tuple(float(branch == model.branches[-1]) for branch in model.branches))
        priors = [Blend(tried[best].weights, weight) for weight in sorted({0.0, *settings.popularity})]
        of_alone, *of_priors = values([alone, *priors])
        place = _most_even(of_alone, of_priors, settings.tolerance)
        found["weights"]["popularity"] = priors[place].popularity
        found["value"] = of_priors[place]["overall"]
        found["balance"] = {"last_alone": of_alone, "sum": measured[best], "final": of_priors[place]}
    return found


def _combinations(model: H2Rec | HidBranches, settings: BlendSettings) -> Iterator[Blend]:
    def of(branch: str, configured: float) -> list[float]:
        if branch == model.branches[-1]:
            return [1.0]
        # A branch that weighs nothing has not been trained.
        return sorted(settings.weights) if configured else [0.0]

    yield from map(Blend, product(*map(of, model.branches, model.branch_weights)))


def _most_even(alone: Mapping[str, float], found: Sequence[Mapping[str, float]], tolerance: float) -> int:
    """Place of what gains most where it gains least, among what is nearly as good as the best overall."""
    enough = max(of_one["overall"] for of_one in found) * (1 - tolerance)

    def least_gain(of_one: Mapping[str, float]) -> float:
        if of_one["overall"] < enough:
            return -np.inf
        # Where the HID branch alone finds nothing, any gain is without bound.
        return min(of_one[part] / alone[part] if alone[part] else np.inf for part in ("head", "tail"))

    return int(np.argmax([least_gain(of_one) for of_one in found]))


def _ranks(
    model: H2Rec | HidBranches,
    cases: Holdout,
    tried: Sequence[Blend],
    train_counts: npt.NDArray[np.integer],
    negatives: torch.Tensor | None,
    *,
    repeats: RepeatRule,
) -> Ranks:
    """Rank every target with all blends, `[tried, cases]`: among all items, or among negatives `[cases, n]`.

    Scores of a branch are computed once for all of them, and then added up a few users at a time: what is read again
    for every blend has to stay in the processor's cache.
    """
    scorer = CatalogueScorer(model)
    log_count = torch.from_numpy(np.log1p(train_counts)).float().to(scorer.device)
    ranks = np.empty((len(tried), len(cases)), dtype=np.int32)
    width = model.item_count + 1
    chunk = max(1, SCORES_AT_ONCE // (width * len(model.branches)))
    few = max(1, SCORES_IN_CACHE // width) if scorer.device.type == "cpu" else chunk
    # Histories of like length together: they are padded little.
    order = np.argsort(cases.histories.lengths, kind="stable")
    with torch.inference_mode():
        for start in range(0, len(cases), chunk):
            of_chunk = order[start : start + chunk]
            scored = scorer.branch_scores(cases.histories, of_chunk)
            for first in range(0, len(of_chunk), few):
                rows = of_chunk[first : first + few]
                targets = torch.from_numpy(cases.targets[rows].astype(np.int64)).to(scorer.device)
                parts = [part[first : first + few].contiguous() for part in scored]
                if repeats == "excluded" and negatives is None:
                    # In the branch that no blend leaves out.
                    drop_excluded(parts[-1], cases.histories.select(rows))
                for place, blend in enumerate(tried):
                    scores = _added(model, parts, blend.weights)
                    if blend.popularity:
                        scores = scores + blend.popularity * log_count
                    if negatives is None:
                        found = full_ranks(scores, targets)
                    else:
                        found = sampled_ranks(scores, targets, negatives[rows].to(scores.device))
                    ranks[place, rows] = found.cpu().numpy()
    return ranks


def _added(model: H2Rec | HidBranches, parts: list[torch.Tensor], weights: tuple[float, ...]) -> torch.Tensor:
    """Add branches up with other weights than those that are in their scores already."""
    factors = [
        weight / configured if configured else 1.0
        for weight, configured in zip(weights, model.branch_weights, strict=True)
    ]
    rank = getattr(model, "saturate_at", None)
    if rank is None:
        total = parts[0] * factors[0]
        for part, factor in zip(parts[1:], factors[1:], strict=True):
            total.add_(part, alpha=factor)
        return total
    scaled = [part * factor for part, factor in zip(parts, factors, strict=True)]
    return joint_score(scaled, saturation_ceiling(scaled[0][:, 1:], rank, model.item_count))
