"""After training: what each branch weighs in the sum, chosen on validation.

With losses of their own the branches do not depend on their weights, so any weights can be tried on one trained model.
"""

import math
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
MOST_CASES, FEWEST_CASES = 50_000, 1_000
"""Cases that weights are chosen by; fewer let noise choose."""
MOST_SCORES = 1_000_000_000
"""Scores of a branch that are looked through once: fewer cases where the catalogue is large, to cost less than a
training."""
CANDIDATES = 2
"""Items that are ranked again, as a multiple of the list that is measured: so many of the best by each branch alone and
by the sum as configured. All others are behind in any blend, or beyond the list."""
FEWEST_CANDIDATES = 100
_CASES_AT_ONCE = 64
"""Cases whose candidates are added up and compared at once: they stay in the processor's cache."""
_BEHIND, _BEFORE = -1e28, 1e37
"""In the place of infinity, which times a weight of zero is no number. All is before a target at minus infinity, also
what is there itself."""


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

    candidates = _Candidates(model, cases, configured, negatives, metric=metric, repeats=repeats)

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


def _deepest(metric: str) -> int:
    """Items of each list that can come before a target, for a metric of the best so many."""
    cutoff = _cutoff(metric)
    return CANDIDATES * int(max(FEWEST_CANDIDATES, cutoff if cutoff < math.inf else 0))


def _cutoff(metric: str) -> float:
    cutoff = metric.rpartition("@")[2]
    return int(cutoff) if cutoff.isdigit() else math.inf


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
    """Items that come before a target in one blend and not in another, and how far each branch puts them before it.

    Computed once for all weights, none of which changes its sign. What every branch puts before a target, or behind it,
    is so in any blend: it is counted, and forgotten. So are the items of a target that no blend brings into the list.
    """

    def __init__(
        self,
        model: SequenceModel,
        cases: Holdout,
        configured: ModelSettings,
        negatives: torch.Tensor | None,
        *,
        metric: str,
        repeats: RepeatRule,
    ) -> None:
        scorer = CatalogueScorer(model)
        names, width = model.branch_names, model.item_count + 1
        lists = [_factors(model, configured.weights)]
        lists += [[float(own == name) for own in names] for name in names]
        weighed = configured.weighed_branches
        always = torch.tensor([name not in weighed and configured.weights[name] != 0 for name in names])
        self._model = model
        self._before = np.zeros(len(cases), dtype=np.int32)
        gaps: list[torch.Tensor] = []
        cases_of: list[npt.NDArray[np.int64]] = []
        # Histories of like length together: they are padded little.
        order = np.argsort(cases.histories.lengths, kind="stable")
        deepest, chunk = _deepest(metric), max(1, SCORES_AT_ONCE // (width * (len(names) + 1)))
        with torch.inference_mode():
            for start in range(0, len(cases), chunk):
                users = order[start : start + chunk]
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
                # What stands twice counts once, and the target is not before itself.
                counts = (out.gather(1, chosen) == 0) & (chosen != targets)
                counts[:, 1:] &= chosen[:, 1:] != chosen[:, :-1]
                gap = torch.stack([part.gather(1, chosen) - part.gather(1, targets) for part in scored])
                gap = gap.nan_to_num(nan=_BEFORE, posinf=_BEFORE, neginf=_BEHIND)
                before = counts & (gap >= 0).all(dim=0)
                undecided = (
                    counts & ~before & ~((gap <= 0).all(dim=0) & (gap[always.to(gap.device)] < 0).any(dim=0))
                )
                sure = before.sum(dim=1)
                undecided &= (sure < _cutoff(metric))[:, None]
                self._before[users] = sure.cpu().numpy()
                gaps.append(gap[:, undecided].cpu())
                cases_of.append(np.repeat(users, undecided.sum(dim=1).cpu().numpy()))
        self._gaps = torch.cat(gaps, dim=1)
        case_of = np.concatenate(cases_of)
        self._starts = np.flatnonzero(np.diff(case_of, prepend=-1))
        self._cases = case_of[self._starts]

    def ranks(self, tried: Sequence[Weights]) -> Ranks:
        """Rank every target with all weights, `[tried, cases]`; ties count against it."""
        factors = torch.tensor([_factors(self._model, weights) for weights in tried])
        ranks = np.tile(1 + self._before, (len(tried), 1))
        few = _CASES_AT_ONCE
        for first in range(0, len(self._cases), few):
            starts = self._starts[first : first + few + 1]
            stop = starts[few] if len(starts) > few else self._gaps.shape[1]
            sums = factors @ self._gaps[:, starts[0] : stop]
            ahead = (sums >= 0).numpy().view(np.int8)  # ties are
            ranks[:, self._cases[first : first + few]] += np.add.reduceat(
                ahead, starts[:few] - starts[0], axis=1, dtype=np.int32
            )
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
