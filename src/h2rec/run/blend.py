"""After training: what each branch weighs in the sum, chosen on validation.

With losses of their own the branches do not depend on their weights, so any weights can be tried on one trained model.
"""

from collections.abc import Iterator, Sequence
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
"""Weights to try for every branch but the measure of all others, beside those that are configured."""
TOGETHER = 2
"""Branches whose weights are tried in all combinations; all combinations of all branches would be too many."""
ROUNDS = 2
"""Times that every branch has its turn where there are more of them."""

MOST_SCORES = 50_000_000
"""Scores of a branch that weights are chosen by: so many cases are ranked as there are items in it."""
FEWEST_CASES = 500
"""But so many at least."""


class BlendSettings(Settings):
    """How the branches' weights are chosen once the branches are trained."""

    fit: bool = True
    """Choose the weights of all branches but one on validation, by the metric that selects the epoch; false keeps those
    in `model.branches`."""


def has_choice(settings: ModelSettings, blend: BlendSettings) -> bool:
    """Whether a model has branches whose weights can be chosen."""
    return blend.fit and bool(settings.weighed_branches)


def cases_for_weights(item_count: int) -> int:
    """Cases that are enough to choose weights by: all combinations rank them, which is to cost less than a training."""
    return max(FEWEST_CASES, MOST_SCORES // item_count)


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
    """Rank validation cases with many combinations of weights; return the best.

    Two branches at a time in all combinations, the others as they are; where there are more, every pair has its turn
    twice. Of equal values the weights so far win, which at first are the configured ones, then the smaller ones.

    Parameters
    ----------
    model
        A trained model.
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
        ``weights`` by branch, their ``value``, ``value_as_configured`` and how many were ``tried``.
    """
    protocol, part, metric = select.split(".")
    cases = measured_cases(cases, repeats)
    negatives = None
    if protocol != FULL:
        drawn = draw_negatives(cases, model.item_count, sampled_negatives(protocol), seed, repeats)
        ranked = np.flatnonzero(drawn[:, 0])
        cases, negatives = cases.select(ranked), torch.from_numpy(drawn[ranked].astype(np.int64))
    in_head = head[cases.targets]
    counts = {"overall": None, "head": in_head, "tail": ~in_head, "weighted": cases.weights}[part]

    def values(tried: Sequence[Weights]) -> list[float]:
        ranks = _ranks(model, cases, tried, negatives, measure=_measure(configured), repeats=repeats)
        return [float(np.average(per_case(row, metric), weights=counts)) for row in ranks]

    names = configured.weighed_branches
    turns = [names[first : first + TOGETHER] for first in range(0, len(names), TOGETHER)]
    # The measure of all others has the weight 1 in every combination.
    best = configured.weights | {_measure(configured): 1.0} if configured.is_trained else configured.weights
    as_configured = value = 0.0
    count = 0
    for turn, pair in enumerate(turns * ROUNDS if len(turns) > 1 else turns):
        first = configured.weights if turn == 0 else best
        tried = [first, *_combinations(best, pair)]
        measured = values(tried)
        place = int(np.argmax(measured))
        best, value, count = tried[place], measured[place], count + len(tried) - (turn > 0)
        as_configured = measured[0] if turn == 0 else as_configured
    return {
        "weights": best,
        "value": value,
        "value_as_configured": as_configured,
        "tried": count,
        "selected_by": select,
    }


def _measure(settings: ModelSettings) -> str:
    """The branch that all others are weighed against: the last trained one, or the first where none is trained."""
    trained = settings.trained_branches
    return trained[-1] if trained else settings.counted_branches[0]


def _combinations(weights: Weights, names: Sequence[str]) -> Iterator[Weights]:
    """All combinations of weights of some branches, beside the given ones of the others."""
    for chosen in product(WEIGHTS, repeat=len(names)):
        yield weights | dict(zip(names, chosen, strict=True))


def _ranks(
    model: SequenceModel,
    cases: Holdout,
    tried: Sequence[Weights],
    negatives: torch.Tensor | None,
    *,
    measure: str,
    repeats: RepeatRule,
) -> Ranks:
    """Rank every target with all weights, `[tried, cases]`: among all items, or among negatives `[cases, n]`.

    Scores of a branch are computed once for all of them, and then added up a few users at a time: what is read again
    for every blend has to stay in the processor's cache.
    """
    scorer = CatalogueScorer(model)
    ranks = np.empty((len(tried), len(cases)), dtype=np.int32)
    factors = np.array([_factors(model, weights) for weights in tried])
    # What weighs the same in all of them is added up once.
    same = (factors == factors[0]).all(axis=0)
    common, own = np.where(same, factors[0], 0.0), np.where(same, 0.0, factors)
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
                    # In a branch that every blend includes.
                    drop_excluded(
                        branch_scores[model.branch_names.index(measure)], cases.histories.select(rows)
                    )
                base = _weighted_sum(branch_scores, common.tolist())
                for place, branch_factors in enumerate(own):
                    scores = _weighted_sum([base, *branch_scores], [1.0, *branch_factors.tolist()])
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
    # What weighs nothing is passed over: it may hold minus infinity.
    used = [(part, factor) for part, factor in zip(branch_scores, factors, strict=True) if factor]
    if not used:
        return torch.zeros_like(branch_scores[0])
    total = used[0][0] * used[0][1]
    for part, factor in used[1:]:
        total.add_(part, alpha=factor)
    return total
