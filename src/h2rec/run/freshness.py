"""How fresh a bundle is: how it ranks interactions that it does not know yet, and how far its vectors have drifted."""

import numpy as np
import numpy.typing as npt

from h2rec.data.event_log import Merged
from h2rec.data.splits import cases_at
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import FULL, EvaluateSettings
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.bundle import Bundle
from h2rec.runtime import random_stream

_MOST_CASES = 2_000
_MEASURE = "ndcg@100"


def ndcg_of_new(bundle: Bundle, merged: Merged) -> tuple[int, float | None]:
    """NDCG@100 of new events by the model as it is, and of how many."""
    histories = merged.log.histories
    user = np.repeat(np.arange(len(histories)), histories.lengths)
    place = np.flatnonzero(merged.is_new & (np.arange(len(user)) > histories.offsets[:-1][user]))
    if len(place) > _MOST_CASES:
        place = np.sort(random_stream(0, "update cases").choice(place, _MOST_CASES, replace=False))
    rule = bundle.manifest.repeats
    cases = measured_cases(cases_at(histories, place), rule)
    if not len(cases):
        return 0, None
    settings = EvaluateSettings(protocols=[FULL], repeats=rule)
    ranks = rank(CatalogueScorer(bundle.model), cases, settings).by_protocol[FULL]
    return len(cases), float(per_case(ranks, _MEASURE).mean())


def drift(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> float:
    """1 less the mean cosine of vectors `[n, D]` of the same items, once and now."""
    if before.shape != after.shape or not before.size:
        return 0.0
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = (before * after).sum(axis=1)[lengths > 0] / lengths[lengths > 0]
    return round(max(0.0, 1.0 - float(cosines.mean())), 6) if len(cosines) else 0.0
