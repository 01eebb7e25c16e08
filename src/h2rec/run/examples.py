"""A few test users as a reader of the report meets them: their history, and what the measured model lists for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from h2rec.data.dataset import Dataset
from h2rec.data.splits import Holdout
from h2rec.evaluation.groups import Bools
from h2rec.evaluation.ranking import rank
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.scorer import Scorer
from h2rec.evaluation.settings import FULL, EvaluateSettings
from h2rec.runtime import random_stream
from h2rec.text.fields import item_titles

LISTED, REMEMBERED = 10, 8
"""Items of a list, and the latest ones of a history that are shown."""


@dataclass(frozen=True)
class Example:
    """A test user."""

    user: str
    among: str
    """Which held-out items it was drawn among."""
    history: Sequence[str]
    """Titles of the latest items before the held-out one, oldest first."""
    earlier: int
    """How many came before these."""
    listed: Sequence[tuple[str, bool]]
    """Titles of what the model lists, best first, and whether it is the held-out item."""
    target: str
    """Title of the held-out item."""
    place: int
    """Its place among all items, 1 is best."""


def example_cases(cases: Holdout, head: Bools, seed: int) -> dict[str, int]:
    """Draw a case with a target of the head, one of the tail and one of any, whatever any model finds for them.

    `head`: which items are head items, bool `[N + 1]`. Returns rows of `cases`, each once, by what they were drawn
    among; a kind without cases is left out.
    """
    stream = random_stream(seed, "examples")
    rows: dict[str, int] = {}
    in_head = head[cases.targets]
    kinds = {"head": in_head, "tail": ~in_head, "any": np.ones_like(in_head)}
    for among, members in kinds.items():
        free = np.setdiff1d(np.flatnonzero(members), list(rows.values()))
        if len(free):
            rows[among] = int(stream.choice(free))
    return rows


def examples(
    scorer: Scorer, dataset: Dataset, cases: Holdout, *, head: Bools, settings: EvaluateSettings, seed: int
) -> Iterator[Example]:
    """Show the users of `example_cases` among those that are measured; ranks no one else."""
    cases = measured_cases(cases, "excluded" if settings.repeats == "excluded" else "allowed")
    chosen = example_cases(cases, head, seed)
    few = cases.select(np.array(list(chosen.values()), dtype=np.int64))
    ranked = rank(scorer, few, settings.model_copy(update={"protocols": [FULL]}), top_k=LISTED)
    if ranked.top is None:
        return
    for row, among in enumerate(chosen):
        target, history = few.targets[row], few.histories[row]
        listed = ranked.top[row][ranked.top[row] > 0]
        yield Example(
            str(dataset.user_ids[int(few.users[row])]),
            among,
            _titles(dataset, history[-REMEMBERED:]),
            max(len(history) - REMEMBERED, 0),
            list(zip(_titles(dataset, listed), (listed == target).tolist(), strict=True)),
            _titles(dataset, [target])[0],
            int(ranked.by_protocol[FULL][row]),
        )


def _titles(dataset: Dataset, items: Any) -> list[str]:
    """Titles of items by their indices, `[n]`, from 1 on."""
    return item_titles(dataset.items[(np.asarray(items, dtype=np.int64) - 1).tolist()])
