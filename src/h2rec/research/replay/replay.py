"""A replay: every step's events are ranked by the models of the step before, which are then kept fresh."""

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.claims import claim_names
from h2rec.data.dataset import Dataset
from h2rec.data.settings import ColumnSettings, DataSettings
from h2rec.evaluation.metrics import per_case
from h2rec.files import read_json, write_json
from h2rec.frames import write_parquet
from h2rec.progress import progress_bar
from h2rec.research.replay.cases import Cases, cases_of, ranks_by
from h2rec.research.replay.moments import Moments, moments
from h2rec.research.replay.report import write_replay_report
from h2rec.research.replay.strategies import COUNTS, FULL, METRICS, NEVER, SLICES, UPDATE
from h2rec.research.replay.warnings import each_warning_once
from h2rec.retrieval.bundle import Bundle
from h2rec.run.config import RunConfig
from h2rec.run.new_events import Learned, NewEvents
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance
from h2rec.run.update import BUDGET, update

logger = logging.getLogger(__name__)

RESULTS = "replay.json"


@each_warning_once()
def replay(
    config: RunConfig,
    out: Path,
    *,
    start: str,
    every: str,
    steps: int | None = None,
    budget: float = BUDGET,
    full_every: int = 1,
) -> dict[str, Any]:
    """Live through the days of a data set with several strategies side by side; write and return what came of it.

    A training is reused where it is there already, so a replay that was stopped goes on. What every training warns of
    alike is told once.

    Parameters
    ----------
    out
        Folder of the replay: `replay.json`, `ranks.parquet`, the trainings in `full/`.
    start, every, steps
        See `moments`.
    budget
        Share of a full training's work that an update takes at most.
    full_every
        Steps between two full trainings of the strategy that trains; 0 leaves it out.
    """
    claim_names(out, (RESULTS, "replay.html", "ranks.parquet", "full", "bundles", "data"), is_replay)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / RESULTS).exists():
        write_json(out / RESULTS, {"replay": "unfinished"})
    preparation = Pipeline(config, out / "data").begin()
    dataset = preparation.dataset
    days = moments(dataset, start, every, steps)
    trainings = _Trainings(config, dataset, days, out / "full")
    first, first_cost = trainings.bundle(0)
    rule = Bundle.load(first).manifest.repeats
    bundles = {NEVER: first, COUNTS: out / "bundles" / "counts", UPDATE: out / "bundles" / "update"}
    for name in (COUNTS, UPDATE):
        shutil.rmtree(bundles[name], ignore_errors=True)
        shutil.copytree(first, bundles[name])
    if full_every:
        bundles[FULL] = first
    records: list[dict[str, Any]] = []
    ranks: list[pl.DataFrame] = []
    with progress_bar("replay", len(days.names), "steps") as advance:
        for step, name in enumerate(days.names):
            cuts = (float(days.cuts[0]), float(days.cuts[step]), float(days.cuts[step + 1]))
            cases = cases_of(dataset, days.of_events, cuts, rule)
            by_strategy = {
                strategy: ranks_by(Bundle.load(folder), dataset, cases, rule)
                for strategy, folder in bundles.items()
            }
            ranks.append(_frame(step, cases, by_strategy, dataset))
            costs: dict[str, float] = {NEVER: 0.0}
            for strategy, share in ((COUNTS, 0.0), (UPDATE, budget)):
                costs[strategy] = _updated(trainings, bundles[strategy], step, share)
            if full_every:
                costs[FULL] = 0.0
                if (step + 1) % full_every == 0 and step + 1 < len(days.names):
                    bundles[FULL], costs[FULL] = trainings.bundle(step + 1)
            lineage = Bundle.load(bundles[UPDATE]).manifest.lineage
            records.append(
                {
                    "step": name,
                    "events": int(np.count_nonzero(trainings.within(step))),
                    "cases": {part: int(rows.sum()) for part, rows in _slices(cases)},
                    "figures": {s: _figures(r, cases) for s, r in by_strategy.items()},
                    "cpu_seconds": {s: round(cost, 3) for s, cost in costs.items()},
                    "update": None
                    if lineage is None or not lineage.updates
                    else lineage.updates[-1].model_dump(),
                    "due": [] if lineage is None else lineage.due,
                }
            )
            advance(1, note=_note(records[-1]))
    together = pl.concat(ranks)
    write_parquet(together, out / "ranks.parquet", small=True)
    results = {
        "replay": config.data.name,
        "from": start,
        "every": every,
        "budget": budget,
        "full_every": full_every,
        "repeats": rule,
        "strategies": list(bundles),
        "first_training_cpu_seconds": round(first_cost, 3),
        "steps": records,
        "overall": {s: _overall(together, s) for s in bundles},
        "provenance": provenance(config.train.seed),
    }
    write_json(out / RESULTS, results)
    write_replay_report(out / "replay.html", results)
    return results


def is_replay(folder: Path) -> bool:
    """Whether a folder is that of a replay."""
    return (folder / RESULTS).is_file() and "replay" in read_json(folder / RESULTS)


class _Trainings:
    """Full trainings on what was there at a moment, and the events of each step."""

    def __init__(self, config: RunConfig, dataset: Dataset, days: Moments, out: Path) -> None:
        self.config, self.dataset, self.days, self.out = config, dataset, days, out
        lengths = dataset.histories.lengths
        self.events = pl.DataFrame(
            {
                "user": dataset.user_ids.gather(np.repeat(np.arange(len(lengths)), lengths)),
                "item": dataset.items["item_id"].gather(np.asarray(dataset.histories.items) - 1),
                "time": dataset.timestamps,
            }
        )

    def within(self, step: int) -> npt.NDArray[np.bool_]:
        """Which events are of a step."""
        moments, cuts = self.days.of_events, self.days.cuts
        within: npt.NDArray[np.bool_] = (moments > cuts[step]) & (moments <= cuts[step + 1])
        return within

    def bundle(self, step: int) -> tuple[Path, float]:
        """Train on all that was there when a step began; the bundle, and CPU seconds of its stages."""
        logger.info("step %d of %d, %s: full training", step + 1, len(self.days.names), self.days.names[step])
        folder = self.out / f"{step:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        there = self.events.filter(pl.Series(self.days.of_events <= self.days.cuts[step]))
        columns = {"user": "user_id", "item": "item_id", "time": "timestamp"}
        write_parquet(there.rename(columns), folder / "interactions.parquet")
        known = self.dataset.items.filter(pl.col("item_id").is_in(there["item"].unique().implode()))
        write_parquet(known, folder / "items.parquet")
        own = self.config.data.model_dump(include={"split", "test_share", "head_share", "popularity_groups"})
        data = DataSettings(
            interactions=folder / "interactions.parquet",
            items=folder / "items.parquet" if known.width > 1 else None,
            columns=ColumnSettings(user="user_id", item="item_id", timestamp="timestamp"),
            **own,
        )
        pipeline = Pipeline(self.config.model_copy(update={"data": data}), folder / "run").begin()
        bundle = pipeline.bundled()
        return bundle, sum(float(stage.origin["cpu_seconds"]) for stage in pipeline.stages.values())

    def read(self, step: int) -> tuple[NewEvents, pl.DataFrame | None]:
        """The events of a step, and the items that they name."""
        rows = self.events.filter(pl.Series(self.within(step))).sort("time", maintain_order=True)
        order = str(self.dataset.report["time_order"])
        named = self.dataset.items.filter(pl.col("item_id").is_in(rows["item"].unique().implode()))
        return NewEvents(rows, order, {}), named if named.width > 1 else None


def _updated(trainings: _Trainings, folder: Path, step: int, budget: float) -> float:
    """Update a bundle by the events of a step, and return what it took in CPU seconds."""
    events, items = trainings.read(step)
    if not events.rows.height:
        return 0.0
    known = set(Bundle.load(folder).items["item_id"])
    if items is None and not known & set(events.rows["item"]):
        return 0.0

    def read(learned: Learned) -> NewEvents:
        # The training read them from a file of ours: its column of times is theirs.
        return NewEvents(events.rows, learned.time_order, events.report)

    began = time.process_time()
    update(folder, read, folder, items=items, budget=budget)
    return time.process_time() - began


def _slices(cases: Cases) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    rows = (np.ones(len(cases), np.bool_), cases.new_item, cases.new_user)
    yield from zip(SLICES, rows, strict=True)


def _figures(ranks: npt.NDArray[np.integer], cases: Cases) -> dict[str, dict[str, float | None]]:
    return {part: _means(ranks[rows]) for part, rows in _slices(cases)}


def _means(ranks: npt.NDArray[np.integer]) -> dict[str, float | None]:
    return {metric: float(per_case(ranks, metric).mean()) if len(ranks) else None for metric in METRICS}


def _frame(
    step: int, cases: Cases, ranks: dict[str, npt.NDArray[np.integer]], dataset: Dataset
) -> pl.DataFrame:
    holdout = cases.holdout
    return pl.DataFrame(
        {
            "step": pl.Series([step] * len(cases), dtype=pl.Int32),
            "user_id": dataset.user_ids.gather(holdout.users),
            "item_id": dataset.items["item_id"].gather(np.asarray(holdout.targets) - 1),
            "new_item": cases.new_item,
            "new_user": cases.new_user,
        }
        | {f"rank_{name}": values.astype(np.int32) for name, values in ranks.items()}
    )


def _overall(ranks: pl.DataFrame, strategy: str) -> dict[str, dict[str, float | None]]:
    rows = {"all": ranks, "new items": ranks.filter("new_item"), "new users": ranks.filter("new_user")}
    return {
        part: {"cases": rows[part].height, **_means(rows[part][f"rank_{strategy}"].to_numpy())}
        for part in SLICES
    }


def _note(record: dict[str, Any]) -> str:
    leading = METRICS[0]
    words = [
        f"{name} {figures['all'][leading]:.4f}"
        for name, figures in record["figures"].items()
        if figures["all"][leading] is not None
    ]
    return f"{record['step']}: {', '.join(words)}"
