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
from h2rec.evaluation.ranking import SCORES_AT_ONCE, drop_excluded
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import FULL, RepeatRule, sampled_negatives
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.settings import Settings

Ranks = npt.NDArray[np.int32]
Weights = dict[str, float]
"""What each branch weighs, by name, in the order of the model's."""

WEIGHTS = (0.0, 0.15, 0.3, 0.5, 0.8, 1.2)
"""Weights to try for every branch but the measure of all others, beside those that are configured."""
LARGER = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
"""Weights to try, one after the other, for a branch that is best with the largest so far: beside an encoder that
learned little, counts weigh much more than 1."""
TOGETHER = 2
"""Branches whose weights are tried in all combinations; all combinations of all branches would be too many."""
ROUNDS = 3
"""Times that every pair of branches has its turn, at most; the search ends before if a round changes nothing."""
MOST_CASES, FEWEST_CASES = 8_000, 1_000
"""Cases that weights are chosen by; fewer let noise choose."""
MOST_SCORES = 400_000_000
"""Scores of a branch that are looked through once: fewer cases where the catalogue is large, to cost less than a
training."""
CANDIDATES = 2
"""Items that are ranked again, as a multiple of the list that is measured: so many of the best by each branch alone and
by the sum as configured. All others are behind in any blend, or beyond the list."""
FEWEST_CANDIDATES = 100
SCORES_IN_CACHE = 2**17
"""Scores of a branch that are added up and compared at once on a CPU: half a megabyte."""


class BlendSettings(Settings):
    """How the branches' weights are chosen once the branches are trained."""

    fit: bool = True
    """Choose the weights of all branches but one on validation, by the metric that selects the epoch; false keeps those
    in `model.branches`."""


def has_choice(settings: ModelSettings, blend: BlendSettings) -> bool:
    """Whether a model has branches whose weights can be chosen."""
    return blend.fit and bool(settings.weighed_branches)


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
    """Rank validation cases with many combinations of weights; return the best.

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
    counts = {"overall": None, "head": in_head, "tail": ~in_head, "weighted": cases.weights}[part]

    candidates = _Candidates(
        model, cases, configured.weights, negatives, deepest=_deepest(metric), repeats=repeats
    )

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

    as_configured = measured([configured.weights])[0]
    best, value = configured.weights, as_configured
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


def _deepest(metric: str) -> int:
    """Items of each list that can come before a target, for a metric of the best so many."""
    cutoff = metric.rpartition("@")[2]
    return CANDIDATES * max(FEWEST_CANDIDATES, int(cutoff) if cutoff.isdigit() else 0)


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


class _Candidates:
    """Scores of the items that can come before a target, by branch, `[branches, cases, C + 1]`: the target last.

    Computed once for all weights. Items that are no candidates, in any blend, are held apart in `closed`, minus
    infinity where an item is out.
    """

    def __init__(
        self,
        model: SequenceModel,
        cases: Holdout,
        weights: Weights,
        negatives: torch.Tensor | None,
        *,
        deepest: int,
        repeats: RepeatRule,
    ) -> None:
        scorer = CatalogueScorer(model)
        names, width = model.branch_names, model.item_count + 1
        lists = [_factors(model, weights)]
        lists += [[float(own == name) for own in names] for name in names]
        self._model = model
        scores: list[torch.Tensor] = []
        closed: list[torch.Tensor] = []
        # Histories of like length together: they are padded little.
        self._order = np.argsort(cases.histories.lengths, kind="stable")
        chunk = max(1, SCORES_AT_ONCE // (width * (len(names) + 1)))
        with torch.inference_mode():
            for start in range(0, len(cases), chunk):
                users = self._order[start : start + chunk]
                scored = scorer.branch_scores(cases.histories, users)
                targets = torch.from_numpy(cases.targets[users].astype(np.int64)).to(scorer.device)[:, None]
                out = torch.zeros_like(scored[0])
                out[:, 0] = -torch.inf
                if repeats == "excluded" and negatives is None:
                    drop_excluded(out, cases.histories.select(users))
                if negatives is not None:
                    chosen = negatives[users].to(scorer.device)
                elif deepest * len(lists) >= width:
                    chosen = torch.arange(width, device=scorer.device).expand(len(users), -1)
                else:
                    tops = [(_weighted_sum(scored, one) + out).topk(deepest).indices for one in lists]
                    chosen = torch.cat(tops, dim=1).sort(dim=1).values
                kept = out.gather(1, chosen)
                # What stands twice counts once, and the target is not before itself.
                kept[:, 1:].masked_fill_(chosen[:, 1:] == chosen[:, :-1], -torch.inf)
                kept.masked_fill_(chosen == targets, -torch.inf)
                places = torch.cat([chosen, targets], dim=1)
                scores.append(torch.stack([part.gather(1, places) for part in scored]).cpu())
                closed.append(torch.cat([kept, torch.zeros_like(targets, dtype=kept.dtype)], dim=1).cpu())
        self._scores, self._closed = torch.cat(scores, dim=1), torch.cat(closed)

    def ranks(self, tried: Sequence[Weights]) -> Ranks:
        """Rank every target with all weights, `[tried, cases]`; ties count against it."""
        factors = np.array([_factors(self._model, weights) for weights in tried])
        # What weighs the same in all of them is added up once.
        same = (factors == factors[0]).all(axis=0)
        common, own = np.where(same, factors[0], 0.0), np.where(same, 0.0, factors)
        ranks = np.empty((len(tried), len(self._closed)), dtype=np.int32)
        few = max(1, SCORES_IN_CACHE // self._closed.shape[1])
        for start in range(0, len(self._closed), few):
            rows = slice(start, start + few)
            parts = list(self._scores[:, rows])
            base = _weighted_sum([self._closed[rows], *parts], [1.0, *common.tolist()])
            for place, of_branches in enumerate(own):
                sums = _weighted_sum([base, *parts], [1.0, *of_branches.tolist()])
                behind = (sums[:, :-1] < sums[:, -1:]).sum(dim=1)  # ties and NaN are not
                ranks[place, self._order[rows]] = sums.shape[1] - behind.numpy()
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
