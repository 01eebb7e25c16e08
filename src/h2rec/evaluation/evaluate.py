"""The evaluation of one model on one holdout: figures for `metrics.json`, ranks for `ranks.parquet`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from h2rec.data.splits import Holdout
from h2rec.evaluation.exposure import exposure
from h2rec.evaluation.groups import (
    Bools,
    Group,
    Ints,
    collision_groups,
    day_groups,
    history_length_groups,
    popularity_groups,
    repeat_groups,
    training_groups,
)
from h2rec.evaluation.metrics import summarize
from h2rec.evaluation.ranking import NO_RANK, Ranks, Ranks64
from h2rec.evaluation.repeats import repeated
from h2rec.evaluation.settings import FULL, EvaluateSettings, sampled_negatives
from h2rec.semantic_ids.codes import SemanticIds

EXPOSURE_KS = (10, 100)
"""Lengths of the recommended lists whose exposure is measured."""
HISTORY_LENGTH_GROUPS = 5
"""Slices by history length, of about equal size."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics and ranks of one holdout."""

    metrics: dict[str, Any]
    """Protocol -> ``overall``, ``head``, ``tail``, ``head_by_popularity``, ``groups`` and ``apart`` (not in figures:
    ``repeats`` that the rule excludes, and cases with ``too_few_negatives``), and ``weighted`` (all cases, by their
    weights, whose ``name`` stands there too) where cases have weights. Under ``full`` also ``exposure`` of the
    lists of all users. Plain values, ready for JSON; a metric of no cases is None."""
    ranks: pl.DataFrame
    """One row a case, in the order of the holdout: ``user`` (row in the data set), ``user_id`` if known, ``target``
    (item index), its ``item_id`` if known, ``head`` (whether it is a head item), ``repeat`` (whether it is in the
    user's own history), ``weight`` where cases have one, and
    ``rank_PROTOCOL`` for each protocol, null where the case is set apart."""


def evaluate(
    ranked: Ranks,
    holdout: Holdout,
    *,
    settings: EvaluateSettings,
    head: Bools,
    train_counts: Ints,
    popularity_group: Ints | None = None,
    semantic_ids: SemanticIds | None = None,
    user_ids: Sequence[str] | pl.Series | None = None,
    item_ids: pl.Series | None = None,
    weight: str | None = None,
) -> Evaluation:
    """Summarize ranks over all cases, head, tail and groups; where lists are with them, what they expose.

    Parameters
    ----------
    ranked
        Of `rank`, or of another system.
    settings
        With `repeats` allowed or excluded, see `Repeats.of`.
    head
        Which items are head items, bool `[N + 1]`, padding first.
    train_counts
        Training interactions of each item, `[N + 1]`, padding first.
    popularity_group
        Finer popularity group of each item, `[N + 1]`, padding first.
    semantic_ids
        For the slices by code collision.
    user_ids
        The users' own ids, by row in the data set.
    item_ids
        The items' own ids, by row in the catalogue `[N]`.
    weight
        What the weights of the cases are called.
    """
    repeat = repeated(holdout)
    apart = int(repeat.sum()) if settings.repeats == "excluded" else 0
    metrics: dict[str, Any] = {}
    for protocol, ranks in ranked.by_protocol.items():
        # Beyond the number of negatives every target is a hit.
        ks = [k for k in settings.ks if protocol == FULL or k <= sampled_negatives(protocol)]
        rows = np.flatnonzero(ranks != NO_RANK)
        cases = holdout.select(rows)
        groups = repeat_groups(repeat[rows], apart)
        if cases.same_day is not None:
            groups += day_groups(cases.same_day)
        groups += training_groups(cases.targets, train_counts)
        if popularity_group is not None:
            groups += popularity_groups(cases.targets, popularity_group)
        groups += history_length_groups(cases.histories.lengths, HISTORY_LENGTH_GROUPS)
        if semantic_ids is not None:
            groups += collision_groups(cases.targets, semantic_ids)
        metrics[protocol] = _slices(ranks[rows], ks, head[cases.targets], train_counts[cases.targets], groups)
        if cases.weights is not None:
            figures = summarize(ranks[rows], ks, weights=cases.weights)
            metrics[protocol]["weighted"] = {"name": weight, **figures}
        metrics[protocol]["apart"] = {"repeats": apart, "too_few_negatives": len(holdout) - apart - len(rows)}
    # Lists that end earlier are another system's.
    depths = [k for k in EXPOSURE_KS if ranked.top is not None and k <= ranked.top.shape[1]]
    if ranked.top is not None and depths:
        metrics[FULL]["exposure"] = exposure(ranked.top, depths, head, train_counts)
    named: dict[str, Any] = (
        {} if item_ids is None else {"item_id": item_ids.gather(holdout.targets.astype(np.int64) - 1)}
    )
    named["head"] = head[holdout.targets]
    return Evaluation(metrics, _ranks_frame(holdout, named, repeat, ranked.by_protocol, user_ids))


def _slices(ranks: Ranks64, ks: list[int], head: Bools, counts: Ints, groups: list[Group]) -> dict[str, Any]:
    """Figures of ranked cases."""
    return {
        "overall": summarize(ranks, ks),
        "head": summarize(ranks[head], ks),
        "tail": summarize(ranks[~head], ks),
        "head_by_popularity": summarize(ranks[head], ks, weights=counts[head].astype(np.float64)),
        "groups": [
            {"kind": group.kind, "name": group.name}
            | summarize(ranks[group.cases], ks)
            | ({"apart": group.apart} if group.apart else {})
            for group in groups
        ],
    }


def _ranks_frame(
    holdout: Holdout,
    named: Mapping[str, Any],
    repeat: Bools,
    by_protocol: dict[str, Ranks64],
    user_ids: Sequence[str] | pl.Series | None,
) -> pl.DataFrame:
    users = np.asarray(holdout.users, dtype=np.int64)
    columns: dict[str, Any] = {"user": users}
    if user_ids is not None:
        columns["user_id"] = pl.Series(user_ids)[users]
    columns["target"] = np.asarray(holdout.targets, dtype=np.int32)
    columns |= named
    columns["repeat"] = repeat
    if holdout.weights is not None:
        columns["weight"] = holdout.weights
    ranks = {f"rank_{protocol}": ranks.astype(np.int32) for protocol, ranks in by_protocol.items()}
    frame = pl.DataFrame(columns | ranks)
    return frame.with_columns(pl.when(pl.col(name) != NO_RANK).then(pl.col(name)) for name in ranks)
