"""After training: what each branch weighs in the sum, chosen on validation.

With losses of their own the branches do not depend on their weights, so any weights can be tried on one trained model.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from h2rec.data.splits import Holdout
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.negatives import draw_negatives
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import FULL, RepeatRule, sampled_negatives
from h2rec.models.protocol import SequenceModel
from h2rec.models.settings import ModelSettings
from h2rec.run.reranking import Candidates, Weights
from h2rec.settings import Settings

WEIGHTS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.2)
"""Weights to try for every branch but the measure of all others, beside those that are configured."""
LARGER = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
"""Weights to try, one after the other, for a branch that is best with the largest so far: beside an encoder that
learned little, counts weigh much more than 1."""
TOGETHER = 2
"""Branches whose weights are tried in all combinations; all combinations of all branches would be too many."""
ROUNDS = 3
"""Times that every pair of branches has its turn, at most; the search ends before if a round changes nothing."""
MOST_CASES, FEWEST_CASES = 50_000, 1_000
"""Cases that weights are chosen by; fewer let noise choose."""
MOST_SCORES = 1_000_000_000
"""Scores of a branch that are looked through once: fewer cases where the catalogue is large, to cost less than a
training."""


class BlendSettings(Settings):
    """How the branches' weights are chosen once the branches are trained."""

    fit: bool = True
    """Choose the weights of all branches but one on validation, by the metric that selects the epoch; false keeps those
    in `model.branches`."""


def has_choice(settings: ModelSettings, blend: BlendSettings) -> bool:
    """Whether a model has branches whose weights can be chosen."""
    return blend.fit and bool(settings.weighed_branches)


def searched(item_count: int) -> dict[str, Any]:
    """What a choice of weights depends on, beside a model and its cases."""
    return {"cases": cases_for_weights(item_count), "weights": [*WEIGHTS, *LARGER]}


def cases_for_weights(item_count: int) -> int:
    """Cases that weights are chosen by in a catalogue of so many items."""
    return min(MOST_CASES, max(FEWEST_CASES, MOST_SCORES // item_count))


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
    """Rank validation cases with many combinations of weights and return the best.

    Two branches at a time in all combinations, the others as they are, every pair in turn until nothing changes; once
    from the configured weights and once from the trained branches alone, and the better end wins. A branch that is best
    with the largest weight gets larger ones to try. Of equal values the weights so far win, then the smaller ones.

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
    each = np.ones(len(cases)) if cases.weights is None or part != "weighted" else cases.weights
    counts = each * {"head": in_head, "tail": ~in_head}.get(part, True)

    candidates = Candidates(model, cases, configured, negatives, metric=metric, repeats=repeats)

    def values(tried: Sequence[Weights]) -> list[float]:
        return [float(np.average(per_case(row, metric), weights=counts)) for row in candidates.ranks(tried)]

    names = configured.weighed_branches
    pairs = list(combinations(names, TOGETHER)) if len(names) > TOGETHER else [names]
    # The measure of all others has the weight 1 in every combination.
    first = configured.weights | ({_measure(configured): 1.0} if configured.is_trained else {})
    alone = first | {name: 0.0 for name in names if name in configured.counted_branches}
    known: dict[tuple[float, ...], float] = {}
    ladders = {name: list(WEIGHTS) for name in names}

    def measured(tried: Sequence[Weights]) -> list[float]:
        new = {tuple(one.values()): one for one in tried if tuple(one.values()) not in known}
        if new:
            known.update(zip(new, values(list(new.values())), strict=True))
        return [known[tuple(one.values())] for one in tried]

    # The only trained branch has the weight 1, whatever is configured.
    best = first if len(configured.trained_branches) == 1 else configured.weights
    as_configured = value = measured([best])[0]
    for start in (first, alone):
        found = start
        for _ in range(ROUNDS):
            before = found
            for pair in pairs:
                found = _best_of(found, {name: ladders[name] for name in pair}, measured)
            if found == before:
                break
        if measured([found])[0] > value:
            best, value = found, measured([found])[0]
    return {
        "weights": best,
        "value": value,
        "value_as_configured": as_configured,
        "tried": len(known),
        "selected_by": select,
    }


def _measure(settings: ModelSettings) -> str:
    """The branch that all others are weighed against: the last trained one, or the first where none is trained."""
    trained = settings.trained_branches
    return trained[-1] if trained else settings.counted_branches[0]


def _best_of(
    weights: Weights, ladders: dict[str, list[float]], measured: Callable[[Sequence[Weights]], list[float]]
) -> Weights:
    """The best of all combinations of weights of some branches, beside the given ones of the others.

    `ladders`: the weights to try by branch, ascending; they grow while the largest is the best.
    """
    while True:
        tried = [weights]
        tried += [weights | dict(zip(ladders, chosen, strict=True)) for chosen in product(*ladders.values())]
        weights = tried[int(np.argmax(measured(tried)))]
        topped = [name for name, ladder in ladders.items() if weights[name] == ladder[-1]]
        growing = [name for name in topped if len(ladders[name]) < len(WEIGHTS) + len(LARGER)]
        if not growing:
            return weights
        for name in growing:
            ladders[name].append(LARGER[len(ladders[name]) - len(WEIGHTS)])
