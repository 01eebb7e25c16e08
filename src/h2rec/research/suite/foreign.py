"""Rows of other systems, measured from a file of their answers on the cases that the models are measured on."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.popularity import popularity_groups
from h2rec.data.readers import open_table
from h2rec.errors import DataError
from h2rec.evaluation.evaluate import evaluate
from h2rec.evaluation.ranking import NO_RANK, Ranks
from h2rec.evaluation.repeats import repeated
from h2rec.evaluation.settings import FULL
from h2rec.files import write_json
from h2rec.frames import write_parquet
from h2rec.research.suite.answers import Placed, placed_by_rank, placed_in_lists
from h2rec.research.suite.settings import ForeignRow
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import origin, provenance

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """A file of another system's answers."""

    kind: Literal["ranks", "lists"]
    path: Path


def answers_of(row: ForeignRow, path: Path) -> Answers:
    """The answers of a row on one data set."""
    return Answers("lists" if row.ranks is None else "ranks", path)


def measure_answers(pipeline: Pipeline, answers: Answers, key: str) -> None:
    """Write `metrics.json`, `ranks.parquet` and `head.json` of another system's answers into the run's folder.

    A user without an answer is a miss. Figures are those of the protocol ``full``. Where some target is not found they
    go as deep as the answers do: no cut-off lies beyond the longest list (the largest rank), and there is no MRR.

    `key`: of what decides the figures. Raises `DataError`, naming the place in the file, for what can't be right.
    """
    cases, rule, settings = pipeline.split.test, pipeline.repeats.rule, pipeline.evaluate_settings
    table, dataset = open_table(answers.path), pipeline.dataset
    if answers.kind == "ranks":
        placed = placed_by_rank(table, dataset, cases)
    else:
        placed = placed_in_lists(table, dataset, cases, rule)
    apart = repeated(cases) if rule == "excluded" else np.zeros(len(cases), dtype=np.bool_)
    missed = (placed.ranks == 0) & ~apart
    ks = [k for k in settings.ks if k <= placed.depth or not missed.any()]
    if not ks:
        raise DataError(
            f"{answers.path}: the answers are {placed.depth} deep, and no k of evaluate.ks is so small",
            "write longer lists, or measure at smaller ks",
        )
    ranks = np.where(missed, max(*ks, dataset.item_count) + 1, placed.ranks)
    ranks[apart] = NO_RANK
    counts = pipeline.split.train_counts
    evaluation = evaluate(
        Ranks({FULL: ranks}, placed.lists),
        cases,
        settings=settings.model_copy(update={"protocols": [FULL], "ks": ks}),
        head=pipeline.head,
        train_counts=counts,
        popularity_group=popularity_groups(counts, pipeline.config.data.popularity_groups),
        user_ids=dataset.user_ids,
        item_ids=dataset.items["item_id"],
        weight=pipeline.config.data.columns.weight,
    )
    told = _told(placed, missed, ~apart)
    logger.warning("%s: %s", answers.path, told)
    stage = pipeline.data_stage
    metrics = {
        "test": _without_mrr(evaluation.metrics) if missed.any() else evaluation.metrics,
        "data": dataset.report,
        "repeats": pipeline.repeats.as_json(),
        "answers": {"file": answers.path.name, "kind": answers.kind, "depth": placed.depth, "told": told},
        "provenance": provenance(pipeline.config.train.seed)
        | {
            "settings": key,
            "stages": {"data": stage.key, "evaluate": key},
            "made": {"data": dict(stage.origin), "evaluate": origin() | {"cpu_seconds": 0.0}},
        },
    }
    with pipeline.alone():
        write_parquet(
            evaluation.ranks.with_columns(pl.lit("test").alias("split")), pipeline.out / "ranks.parquet"
        )
        write_json(pipeline.out / "head.json", pipeline.head.tolist())
        write_json(pipeline.out / "metrics.json", metrics)


def _told(placed: Placed, missed: npt.NDArray[np.bool_], measured: npt.NDArray[np.bool_]) -> str:
    """Say how many users have an answer, and what counts as a miss."""
    absent = int((~placed.answered & measured).sum())
    told = f"{int(measured.sum()) - absent:,} of {int(measured.sum()):,} test users have an answer"
    if absent:
        told += f", and {absent:,} have none, which counts as a miss"
    if placed.lists is not None:
        ends = (placed.lists > 0).sum(axis=1) < placed.depth
        if short := int((missed & placed.answered & ends).sum()):
            told += (
                f"; {short:,} lists end before place {placed.depth:,} without the target, which counts as a "
                "miss (items of a user's own history are taken out where they are not to be recommended)"
            )
    return told + (f"; figures go to place {placed.depth:,}" if missed.any() else "")


def _without_mrr(value: Any) -> Any:
    """Figures without the one that needs every rank."""
    if isinstance(value, dict):
        return {name: _without_mrr(part) for name, part in value.items() if name != "mrr"}
    return [_without_mrr(part) for part in value] if isinstance(value, list) else value
