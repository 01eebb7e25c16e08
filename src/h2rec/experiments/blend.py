"""After training: what each branch of H2Rec weighs in the sum, chosen on validation.

With losses of their own the branches do not depend on their weights, so any weights can be tried on one trained model.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, NonNegativeFloat

from h2rec.data.splits import Holdout
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.negatives import draw_negatives
from h2rec.evaluation.ranking import SCORES_AT_ONCE, full_ranks, sampled_ranks
from h2rec.evaluation.settings import FULL, EvaluateSettings, sampled_negatives
from h2rec.models.h2rec import H2Rec
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.scoring import joint_score, saturation_ceiling
from h2rec.settings import Settings

Weights = tuple[float, ...]
"""One weight a branch, in the order of the model's branches; the HID branch's is 1."""


class BlendSettings(Settings):
    """How the branches' weights are chosen once the branches are trained."""

    fit: bool = True
    """Choose the weights of h2rec's branches on validation, by the metric that selects the epoch; false keeps
    `model.score.sid_weight` and `model.residual.weight`."""
    weights: list[NonNegativeFloat] = Field([0.0, 0.15, 0.3, 0.5, 0.8], min_length=1)
    """Weights to try for every branch made of codes, beside those that are configured."""


def can_be_fitted(model: Any) -> bool:
    """Whether a model is a sum of branches whose weights can be chosen."""
    return isinstance(model, H2Rec) and len(model.branches) > 1


def fit_weights(
    model: H2Rec,
    cases: Holdout,
    blend: BlendSettings,
    evaluate: EvaluateSettings,
    *,
    select: str,
    head: npt.NDArray[np.bool_],
    seed: int,
) -> dict[str, Any]:
    """Rank validation cases with every combination of weights, and return the best one.

    Scores of a branch are computed once for all combinations. Of equal ones the configured weights win, then the
    smaller ones.

    Parameters
    ----------
    model
        A trained model.
    cases
        Validation cases.
    select
        What is best: ``PROTOCOL.SLICE.METRIC``, as in `train.select`.
    head
        Which items are head items, bool `[N + 1]`.
    seed
        Of the sampled negatives.

    Returns
    -------
    dict
        ``weights`` by branch, their ``value``, ``value_as_configured``, and how many were ``tried``.
    """
    protocol, part, metric = select.split(".")
    tried = [model.branch_weights, *_combinations(model, blend)]
    negatives = None
    if protocol != FULL:
        drawn = draw_negatives(cases, model.item_count, sampled_negatives(protocol), seed)
        negatives = torch.from_numpy(drawn.astype(np.int64))
    ranks = _ranks(model, cases, tried, negatives, exclude_history=evaluate.exclude_history)
    if part != "overall":
        ranks = ranks[:, head[cases.targets] == (part == "head")]
    values = [float(per_case(of_one, metric).mean()) for of_one in ranks]
    best = int(np.argmax(values))
    return {
        "weights": dict(zip(model.branches, tried[best], strict=True)),
        "value": values[best],
        "value_as_configured": values[0],
        "tried": len(tried),
        "selected_by": select,
    }


def _combinations(model: H2Rec, blend: BlendSettings) -> Iterator[Weights]:
    def of(branch: str, configured: float) -> list[float]:
        if branch == "hid":
            return [1.0]
        # A branch that weighs nothing has not been trained.
        return sorted(blend.weights) if configured else [0.0]

    yield from product(*map(of, model.branches, model.branch_weights))


def _ranks(
    model: H2Rec,
    cases: Holdout,
    tried: list[Weights],
    negatives: torch.Tensor | None,
    *,
    exclude_history: bool,
) -> npt.NDArray[np.int32]:
    """Rank every target with all weights, `[tried, cases]`: among all items, or among negatives `[cases, n]`."""
    scorer = CatalogueScorer(model)
    ranks = np.empty((len(tried), len(cases)), dtype=np.int32)
    chunk = max(1, SCORES_AT_ONCE // ((model.item_count + 1) * len(model.branches)))
    for start in range(0, len(cases), chunk):
        rows = np.arange(start, min(start + chunk, len(cases)))
        targets = torch.from_numpy(cases.targets[rows].astype(np.int64)).to(scorer.device)
        excluded = cases.histories.select(rows) if exclude_history else None
        parts = scorer.branch_scores(cases.histories, rows)
        for place, weights in enumerate(tried):
            scores = _added(model, parts, weights)
            if negatives is None:
                found = full_ranks(scores, targets, excluded)
            else:
                found = sampled_ranks(scores, targets, negatives[rows].to(scores.device))
            ranks[place, rows] = found.cpu().numpy()
    return ranks


def _added(model: H2Rec, parts: list[torch.Tensor], weights: Weights) -> torch.Tensor:
    """Add branches up with other weights than those that are in their scores already."""
    scaled = [
        part * (weight / configured) if configured else part
        for part, weight, configured in zip(parts, weights, model.branch_weights, strict=True)
    ]
    if model.saturate_at is None:
        return joint_score(scaled)
    return joint_score(scaled, saturation_ceiling(scaled[0][:, 1:], model.saturate_at, model.item_count))
