"""Validation cases ranked by many combinations of branch weights: scored once, added up anew for each."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from h2rec.data.splits import Holdout
from h2rec.evaluation.ranking import SCORES_AT_ONCE, drop_excluded
from h2rec.evaluation.settings import RepeatRule
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings

Ranks = npt.NDArray[np.int32]
Weights = dict[str, float]
"""What each branch weighs, by name, in the order of the model's."""

CANDIDATES = 2
"""Items that are ranked again, as a multiple of the list that is measured: so many of the best by each branch alone and
by the sum as configured. All others are behind in any blend, or beyond the list."""
FEWEST_CANDIDATES = 100
_CASES_AT_ONCE = 64
"""Cases whose candidates are added up and compared at once: they stay in the processor's cache."""
_BEHIND, _BEFORE = -1e28, 1e37
"""In the place of infinity, which times a weight of zero is no number. All is before a target at minus infinity, also
what is there itself."""


class Candidates:
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


def _deepest(metric: str) -> int:
    """Items of each list that can come before a target, for a metric of the best so many."""
    cutoff = _cutoff(metric)
    return CANDIDATES * int(max(FEWEST_CANDIDATES, cutoff if cutoff < math.inf else 0))


def _cutoff(metric: str) -> float:
    cutoff = metric.rpartition("@")[2]
    return int(cutoff) if cutoff.isdigit() else math.inf
