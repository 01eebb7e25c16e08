"""After training: what each branch weighs in the sum, chosen on validation.

With losses of their own the branches do not depend on their weights, so any weights can be tried on one trained model.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from h2rec.data.splits import Holdout
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.negatives import draw_negatives
from h2rec.evaluation.ranking import SCORES_AT_ONCE, drop_excluded, full_ranks, sampled_ranks
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import FULL, RepeatRule, sampled_negatives
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.settings import Settings

Ranks = npt.NDArray[np.int32]
Weights = dict[str, float]
"""What each branch weighs, by name, in the order of the model's."""

SCORES_IN_CACHE = 2**17
"""Scores of a branch that are added up and compared at once on a CPU: half a megabyte."""
WEIGHTS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.2)
"""Weights to try for every trained branch but the last, beside those that are configured."""
POPULARITY_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45)
"""Weights to try for a branch of popularity that weighs nothing so far."""
TOLERANCE = 0.005
"""Largest share of the best value that balancing head and tail may cost."""


class BlendSettings(Settings):
    """How the branches' weights are chosen once the branches are trained."""

    fit: bool = True
    """Choose the weights of all trained branches but the last on validation, by the metric that selects the epoch, and
    that of a branch of popularity that weighs 0 so far; false keeps those in `model.branches`."""


def has_choice(settings: ModelSettings, blend: BlendSettings) -> bool:
    """Whether a model has branches whose weights can be chosen."""
    return blend.fit and bool(settings.weighed_branches or _open_popularity(settings))


def _open_popularity(settings: ModelSettings) -> str | None:
    """The branch of popularity whose weight is to be chosen: one beside trained branches that weighs nothing so far."""
    name = settings.popularity_branch
    return name if name is not None and settings.is_trained and not settings.weights[name] else None


def fit_weights(
    model: SequenceModel,
    configured: ModelSettings,
    cases: Holdout,
    *,
    select: str,
    head: npt.NDArray[np.bool_],
    repeats: RepeatRule,
    seed: int = 0,
) -> dict[str, Any]:
    """Rank validation cases with all combinations of weights and then with all weights of popularity; return the best.

    First the branches: the weights with the best value; of equal ones the configured weights win, then the smaller
    ones. Then, where the value is one over all cases, popularity: what the branches gain over the last trained one
    alone is shared out between head and tail. The weight is taken with which the smaller of the two
    relative gains is largest, among those that cost at most `TOLERANCE` of the best value.

    Parameters
    ----------
    model
        A trained model; a branch of popularity weighs something in it.
    configured
        The settings whose weights are tried first.
    cases
        Validation cases.
    select
        What is best: ``PROTOCOL.SLICE.METRIC``, as in `train.select`.
    head
        Which items are head items, bool `[N + 1]`.
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
    in_head = head[cases.targets]
    slices = {"overall": np.ones_like(in_head), "head": in_head, "tail": ~in_head}
    last = _last_trained(configured)

    def values(tried: Sequence[Weights]) -> list[dict[str, float]]:
        ranks = _ranks(model, cases, tried, negatives, last=last, repeats=repeats)
        found = [
            {name: float(per_case(row[rows], metric).mean()) for name, rows in slices.items() if rows.any()}
            for row in ranks
        ]
        if part == "weighted":
            for slice_values, row in zip(found, ranks, strict=True):
                slice_values[part] = float(np.average(per_case(row, metric), weights=cases.weights))
        return found

    best = _in_the_sum(configured)
    as_configured, *_ = values([configured.weights])
    best_values, count = as_configured, 1
    # In turns: all combinations of all branches would be too many. The first group once more, beside the others.
    groups = configured.weighed_branches
    for turn, names in enumerate([*groups, *groups[:1]] if len(groups) > 1 else groups):
        tried = [configured.weights if turn == 0 else best, *_combinations(best, configured.weights, names)]
        measured = values(tried)
        place = int(np.argmax([slice_values[part] for slice_values in measured]))
        best, best_values, count = tried[place], measured[place], count + len(tried) - 1
    result: dict[str, Any] = {
        "weights": best,
        "value": best_values[part],
        "value_as_configured": as_configured[part],
        "tried": count,
        "selected_by": select,
    }
    popularity = _open_popularity(configured)
    if part == "overall" and popularity and in_head.any() and not in_head.all():
        alone = {name: float(name == last) for name in model.branch_names}
        shares = [best | {popularity: weight} for weight in POPULARITY_WEIGHTS]
        last_alone, *shared = values([alone, *shares])
        place = _most_even(last_alone, shared)
        result["weights"] = shares[place]
        result["value"] = shared[place]["overall"]
        result["balance"] = {"last_alone": last_alone, "sum": best_values, "final": shared[place]}
    return result


def _last_trained(settings: ModelSettings) -> str:
    """The branch that all others are weighed against; the last one where none is trained."""
    trained = settings.trained_branches
    return trained[-1] if trained else list(settings.weights)[-1]


def _in_the_sum(configured: ModelSettings) -> Weights:
    """The configured weights, with 1 for the last trained branch: the others are chosen beside it."""
    return configured.weights | ({_last_trained(configured): 1.0} if configured.is_trained else {})


def _combinations(weights: Weights, configured: Weights, names: Sequence[str]) -> Iterator[Weights]:
    """All combinations of weights of some branches, beside the given ones of the others."""
    # A branch that is configured to weigh nothing has not been trained.
    grids = [WEIGHTS if configured[name] else (0.0,) for name in names]
    for chosen in product(*grids):
        yield weights | dict(zip(names, chosen, strict=True))


def _most_even(alone: Mapping[str, float], shared: Sequence[Mapping[str, float]]) -> int:
    """Place of the values whose smaller gain is largest, among those nearly as good as the best overall."""
    enough = max(values["overall"] for values in shared) * (1 - TOLERANCE)

    def least_gain(values: Mapping[str, float]) -> float:
        if values["overall"] < enough:
            return -np.inf
        # Where the last branch alone finds nothing, any gain is without bound.
        return min(values[part] / alone[part] if alone[part] else np.inf for part in ("head", "tail"))

    return int(np.argmax([least_gain(values) for values in shared]))


def _ranks(
    model: SequenceModel,
    cases: Holdout,
    tried: Sequence[Weights],
    negatives: torch.Tensor | None,
    *,
    last: str,
    repeats: RepeatRule,
) -> Ranks:
    """Rank every target with all weights, `[tried, cases]`: among all items, or among negatives `[cases, n]`.

    Scores of a branch are computed once for all of them, and then added up a few users at a time: what is read again
    for every blend has to stay in the processor's cache.
    """
    scorer = CatalogueScorer(model)
    ranks = np.empty((len(tried), len(cases)), dtype=np.int32)
    factors = [_factors(model, weights) for weights in tried]
    width = model.item_count + 1
    chunk = max(1, SCORES_AT_ONCE // (width * len(model.branch_names)))
    few = max(1, SCORES_IN_CACHE // width) if scorer.device.type == "cpu" else chunk
    # Histories of like length together: they are padded little.
    order = np.argsort(cases.histories.lengths, kind="stable")
    with torch.inference_mode():
        for start in range(0, len(cases), chunk):
            users = order[start : start + chunk]
            scored = scorer.branch_scores(cases.histories, users)
            for first in range(0, len(users), few):
                rows = users[first : first + few]
                targets = torch.from_numpy(cases.targets[rows].astype(np.int64)).to(scorer.device)
                branch_scores = [part[first : first + few].contiguous() for part in scored]
                if repeats == "excluded" and negatives is None:
                    # In the last branch, which every blend includes.
                    drop_excluded(branch_scores[model.branch_names.index(last)], cases.histories.select(rows))
                for place, branch_factors in enumerate(factors):
                    scores = _weighted_sum(branch_scores, branch_factors)
                    if negatives is None:
                        ranked = full_ranks(scores, targets)
                    else:
                        ranked = sampled_ranks(scores, targets, negatives[rows].to(scores.device))
                    ranks[place, rows] = ranked.cpu().numpy()
    return ranks


def _factors(model: SequenceModel, weights: Weights) -> list[float]:
    """Factors for the branches' scores, which already contain the model's own weights."""
    pairs = zip(model.branch_names, model.branch_weights, strict=True)
    return [weights[name] / own if own else 0.0 for name, own in pairs]


def _weighted_sum(branch_scores: Sequence[torch.Tensor], factors: Sequence[float]) -> torch.Tensor:
    total = branch_scores[0] * factors[0]
    for part, factor in zip(branch_scores[1:], factors[1:], strict=True):
        if factor:
            total.add_(part, alpha=factor)
    return total
