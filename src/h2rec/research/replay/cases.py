"""The cases of a step, and how a bundle ranks them as its server would."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories, IntArray, offsets_of
from h2rec.data.splits import Holdout, cases_at
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.settings import FULL, EvaluateSettings, RepeatRule
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.bundle import Bundle

Bools = npt.NDArray[np.bool_]

NOT_FOUND = 2**31 - 1
"""Rank of an item that a bundle does not know: it is in no list."""


@dataclass(frozen=True, eq=False)
class Cases:
    """Events of a step, each to be found from what its user did before, in the data set's numbers."""

    holdout: Holdout
    new_item: Bools
    """Whether no event before the replay has the item, bool `[cases]`."""
    new_user: Bools
    """Whether the user has no event before the replay, bool `[cases]`."""

    def __len__(self) -> int:
        return len(self.holdout)


def cases_of(
    dataset: Dataset, moments: npt.NDArray[np.float64], cuts: tuple[float, float, float], rule: RepeatRule
) -> Cases:
    """The cases of a step.

    `moments`: of all events. `cuts`: the replay's beginning, and the step's beginning and end. A user's first event is
    no case: there is nothing to find it from.
    """
    begin, after, until = cuts
    histories = dataset.histories
    user = np.repeat(np.arange(len(histories)), histories.lengths)
    starts = histories.offsets[:-1][user]
    place = np.flatnonzero((moments > after) & (moments <= until) & (np.arange(len(user)) > starts))
    items = np.asarray(histories.items)
    holdout = measured_cases(cases_at(histories, place), rule)
    known = np.zeros(dataset.item_count + 1, np.bool_)
    known[items[moments <= begin]] = True
    seen = np.zeros(len(histories), np.bool_)
    seen[user[moments <= begin]] = True
    return Cases(holdout, ~known[holdout.targets], ~seen[holdout.users])


def ranks_by(bundle: Bundle, dataset: Dataset, cases: Cases, rule: RepeatRule) -> IntArray:
    """Rank of every case's item among all of the bundle's, int64 `[cases]`; `NOT_FOUND` for what it does not know."""
    index = dict(zip(bundle.items["item_id"].to_list(), range(1, bundle.items.height + 1), strict=True))
    number = np.array([0, *(index.get(item, 0) for item in dataset.items["item_id"])], np.int32)
    given = cases.holdout
    targets = number[given.targets]
    rows = np.flatnonzero(targets > 0)
    taken = given.histories.select(rows)
    mapped = number[np.asarray(taken.items)]
    of_row = np.repeat(np.arange(len(rows)), taken.lengths)[mapped > 0]
    histories = Histories(offsets_of(np.bincount(of_row, minlength=len(rows))), mapped[mapped > 0])
    scorer = _OrPopular(CatalogueScorer(bundle.model), bundle.items["train_count"].to_numpy())
    settings = EvaluateSettings(protocols=[FULL], repeats=rule)
    ranks = np.full(len(cases), NOT_FOUND, np.int64)
    if len(rows):
        holdout = Holdout(given.users[rows], histories, targets[rows])
        ranks[rows] = rank(scorer, holdout, settings).by_protocol[FULL]
    return ranks


class _OrPopular:
    """A scorer that gives who has no known item what is popular, as a bundle's answers do."""

    def __init__(self, scorer: CatalogueScorer, counts: npt.NDArray[np.integer]) -> None:
        self.scorer = scorer
        self.item_count = scorer.item_count
        self.popularity = torch.from_numpy(np.concatenate([[0], counts]).astype(np.float32))

    def score(self, histories: Histories, rows: IntArray) -> torch.Tensor:
        """See `Scorer`."""
        scores = self.scorer.score(histories, rows)
        scores[torch.from_numpy(histories.lengths[rows] == 0)] = self.popularity.to(scores.device)
        return scores
