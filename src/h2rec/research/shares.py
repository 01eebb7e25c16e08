"""How much of a score each branch gives: along the list that a user is shown, and by popularity of what comes next."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from h2rec.data.popularity import popularity_groups
from h2rec.evaluation.repeats import measured_cases
from h2rec.evaluation.topk import top_items
from h2rec.files import read_json, write_json
from h2rec.models.scorer import CatalogueScorer
from h2rec.run.learning import sample_of
from h2rec.run.pipeline import Pipeline

USERS = 2000
"""Test users who are looked at, at most; the same ones for every model."""
PLACES = {"1-10": (0, 10), "11-100": (10, 100), "101-500": (100, 500)}
"""Places of the list by name, first and behind the last."""
_AT_ONCE = 128


def branch_shares(pipeline: Pipeline) -> dict[str, Any] | None:
    """Shares of the branches, written to `shares.json` of the run.

    A branch gives an item its lead: its part of the score, above its mean over the catalogue. A share is the sum of a
    branch's leads over that of all branches; a branch that speaks against what is shown has a negative one.

    Returns
    -------
    dict or None
        ``branches``: their names. ``by_rank``: shares in the items at some places of the lists, see `PLACES`.
        ``by_popularity``: shares in the users' next items, by popularity group, the least popular first. A group of no
        items is left out. None for a model of one branch.
    """

    def work(folder: Path) -> None:
        write_json(folder / "shares.json", _measure(pipeline))

    stage = pipeline.store.run("shares", {"evaluate": pipeline.evaluation_stage.key}, work)
    shares: dict[str, Any] | None = read_json(stage.folder / "shares.json")
    write_json(pipeline.out / "shares.json", shares)
    return shares


def _measure(pipeline: Pipeline) -> dict[str, Any] | None:
    model = pipeline.model
    if len(model.branch_names) < 2:
        return None
    rule = pipeline.repeats.rule
    cases = sample_of(measured_cases(pipeline.split.test, rule), USERS)
    count = pipeline.config.data.popularity_groups
    group_of = popularity_groups(pipeline.split.train_counts, count)[cases.targets]
    scorer = CatalogueScorer(model)
    by_rank = np.zeros((len(PLACES), len(model.branch_names)))
    by_group = np.zeros((count, len(model.branch_names)))
    for start in range(0, len(cases), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(cases)))
        scores = torch.stack(scorer.branch_scores(cases.histories, rows))  # [branches, n, N + 1]
        leads = scores - scores[..., 1:].mean(-1, keepdim=True)
        hidden = cases.histories.select(rows) if rule == "excluded" else None
        shown, _ = top_items(scores.sum(0), PLACES["101-500"][1], hidden)
        given = leads.gather(2, shown.expand(len(leads), -1, -1)) * (shown > 0)  # a short list ends in zeros
        by_rank += [given[..., first:last].sum((1, 2)).tolist() for first, last in PLACES.values()]
        targets = torch.from_numpy(cases.targets[rows].astype(np.int64)).to(leads.device)
        target_leads = leads.gather(2, targets.expand(len(leads), -1).unsqueeze(2)).squeeze(2).T.cpu().numpy()
        np.add.at(by_group, group_of[rows], target_leads)
    return {
        "branches": list(model.branch_names),
        "by_rank": _shares(dict(zip(PLACES, by_rank, strict=True))),
        "by_popularity": _shares({str(group): sums for group, sums in enumerate(by_group)}),
    }


def _shares(sums: dict[str, Any]) -> dict[str, list[float]]:
    return {name: (leads / leads.sum()).tolist() for name, leads in sums.items() if leads.sum()}
