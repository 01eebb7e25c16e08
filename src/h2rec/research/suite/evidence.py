"""Results of a suite's finished runs: means and tests over seeds, and details of each row."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from h2rec.errors import DataError
from h2rec.evaluation.significance import compare_models
from h2rec.files import read_json, write_json
from h2rec.frames import read_parquet
from h2rec.research.columns import Record, mark_places, over_seeds, tests_against
from h2rec.research.suite.origins import cost_of, origin_of
from h2rec.research.suite.results import RESULTS_FILE, write_results
from h2rec.research.suite.runs import Job
from h2rec.research.suite.suite import Suite
from h2rec.run.stages import StageStore, read_stage
from h2rec.run.tables import WEIGHTED, slice_title, slices

logger = logging.getLogger(__name__)

Runs = Mapping[Job, Record]
"""Finished runs and their metrics."""

ROW_TABLES = (
    "costs", "groups", "weighted_head", "exposure", "blend", "intent", "shares", "diagnosis", "codes", "curves",
    "answers",
)  # fmt: skip
"""Lists of records by data set and row."""
SIGNS = ("alpha_entropy", "mca_to_hid_norm", "positives_per_item")
"""Entries of a training's log that show how two branches fail."""


def evidence(suite: Suite) -> Record:
    """Collect all that the finished runs of a suite say; written to `results.parquet`, too.

    Returns
    -------
    dict
        ``records``: a figure each, by data set, protocol, slice, metric and row: `mean` and `spread` (standard
        deviation) over `seeds`, `place` (1 best), and the tested row's `difference` from it, the `relative` one, its
        interval (`low`, `high`), Holm-corrected p-values and Cohen's d_z (`effect_size`). ``contrasts``: the same of
        the suite's further tests, of `model` against `other`. ``rows``: model, swept key and value of every row. Beside
        them, means over seeds by data set and row: ``costs``, ``groups`` (by popularity, history length, code
        collision), ``weighted_head``, ``exposure``, ``intent`` (alpha by level), ``shares`` of branches in the scores,
        ``diagnosis`` (failure signs of the last epoch); and ``blend`` (chosen weights, one a seed), ``codes``,
        ``curves`` (one a run), ``answers`` (of other systems: the file, and what is missing there). By data set:
        ``data`` (sizes), ``repeats``, ``tuned`` (rows that were searched). Then ``cost``, ``failures``, ``provenance``.
        Reports and documents are made of this and of nothing else.
    """
    runs = {job: read_json(job.folder / "metrics.json") for job in suite.finished()}
    settings = suite.settings
    results: Record = {
        "suite": suite.name,
        "title": settings.title,
        "tested": settings.tested,
        "metrics": settings.metrics,
        "records": [],
        "contrasts": [],
        "data": {},
        "repeats": {},
        "rows": {
            name: {"model": row.model, "key": row.key, "value": row.value}
            for name, row in settings.rows.items()
        },
        **{name: [] for name in ROW_TABLES},
    }
    for data in settings.data:
        data_runs = {job: metrics for job, metrics in runs.items() if job.data == data}
        if not data_runs:
            continue
        first = next(iter(data_runs.values()))
        results["data"][data] = {name: first["data"].get(name) for name in ("users", "items", "interactions")}
        results["repeats"][data] = first["repeats"]
        # A sample of 100 has no Hit@500; lists of another system have no metric beyond their length.
        for protocol in dict.fromkeys(name for metrics in data_runs.values() for name in metrics["test"]):
            reported = [m for m in settings.metrics if _reporting(data_runs, protocol, m)]
            if reported:
                place = {"data": data, "protocol": protocol}
                results["records"] += [place | r for r in _records(suite, data_runs, protocol, reported)]
                results["contrasts"] += [place | r for r in _contrasts(suite, data_runs, protocol, reported)]
        for row in settings.rows:
            row_runs = {job: metrics for job, metrics in data_runs.items() if job.model == row}
            for table, record in _row_records(suite, row_runs) if row_runs else ():
                results[table].append({"data": data, "model": row} | record)
    results |= {
        "tuned": {data: [row for where, row in suite.searched if where == data] for data in results["data"]},
        "cost": {"runs": len(suite.jobs)} | cost_of(settings.rows, runs),
        "failures": [
            {"data": job.data, "model": job.model, "seed": job.seed, "error": error}
            for job, error in suite.failed().items()
        ],
        "provenance": origin_of(runs),
    }
    write_results(suite.out / RESULTS_FILE, results)
    return results


def _reporting(runs: Runs, protocol: str, metric: str) -> tuple[Job, ...]:
    """Runs that have a metric under a protocol."""
    return tuple(
        j for j, run in runs.items() if metric in run["test"].get(protocol, {"overall": ()})["overall"]
    )


def _parts(runs: Runs, protocol: str) -> dict[str, str]:
    """Slices of a protocol by what they are called; one by weights is called by their column."""
    blocks = [run["test"][protocol] for run in runs.values() if protocol in run["test"]]
    return {slice_title(part, blocks[0]): part for part in slices(*blocks)} if blocks else {}


def _records(suite: Suite, runs: Runs, protocol: str, reported: list[str]) -> Iterator[Record]:
    runs = {job: run for job, run in runs.items() if protocol in run["test"]}
    names = [name for name in suite.settings.rows if any(job.model == name for job in runs)]
    tests = _tests(suite, suite.settings.tested, names, runs, protocol=protocol, reported=reported)
    for (part, key), metric in product(_parts(runs, protocol).items(), reported):
        column = []
        for name in names:
            values = [r["test"][protocol][key].get(metric) for job, r in runs.items() if job.model == name]
            place = {"slice": part, "metric": metric, "model": name}
            column.append(place | over_seeds(values) | tests.get(f"{part}/{metric}/{name}", {}))
        mark_places(column)
        yield from column


def _contrasts(suite: Suite, runs: Runs, protocol: str, reported: list[str]) -> Iterator[Record]:
    """The further tests that the suite plans, among the rows that have figures; corrected over a row's others."""
    present = {job.model for job in runs}
    for model, planned in suite.settings.contrasts.items():
        others = [name for name in planned if name in present]
        compared = {job: metrics for job, metrics in runs.items() if job.model in (model, *others)}
        tests = _tests(suite, model, [*others, model], compared, protocol=protocol, reported=reported)
        for other, part, metric in product(others, _parts(compared, protocol), reported):
            if test := tests.get(f"{part}/{metric}/{other}"):
                yield {"slice": part, "metric": metric, "model": model, "other": other, **test}


def _tests(
    suite: Suite, tested: str, names: Sequence[str], runs: Runs, *, protocol: str, reported: list[str]
) -> dict[str, Record]:
    """Tests of rows against one of them, by ``slice/metric/row``; each metric among the runs that have it."""
    together: dict[tuple[Job, ...], list[str]] = {}
    for metric in reported:
        together.setdefault(_reporting(runs, protocol, metric), []).append(metric)
    tests: dict[str, Record] = {}
    for jobs, metrics in together.items():
        having = [name for name in names if any(job.model == name for job in jobs)]
        tests |= _tests_of(suite, tested, having, {job: runs[job] for job in jobs}, protocol, metrics)
    return tests


def _tests_of(  # noqa: PLR0917 - one call
    suite: Suite, tested: str, names: Sequence[str], runs: Runs, protocol: str, reported: list[str]
) -> dict[str, Record]:
    """Tests of metrics that all runs have; done once for the same runs."""
    jobs = list(runs)
    if len(names) < 2 or all(job.model != tested for job in jobs):
        return {}
    parts = _parts(runs, protocol)
    keys = [[job.model, job.seed, runs[job]["provenance"]["stages"]["evaluate"]] for job in jobs]
    depends = {"runs": keys, "tested": tested, "protocol": protocol, "metrics": reported}

    def work(folder: Path) -> None:
        ranks = {
            name: [
                read_parquet(job.folder / "ranks.parquet").filter(pl.col("split") == "test")
                for job in jobs
                if job.model == name
            ]
            for name in names
        }
        head = np.array(read_json(jobs[0].folder / "head.json"), dtype=bool)
        frame = compare_models(
            ranks,
            tested,
            reported,
            protocol=protocol,
            slices={"overall": np.ones_like(head), "head": head, "tail": ~head},
            weighted=next((part for part, key in parts.items() if key == WEIGHTED), None),
            family=("slice", "metric"),
        )
        write_json(folder / "tests.json", tests_against(frame))

    stage = StageStore(suite.stages).run("tests", depends, work)
    tests: dict[str, Record] = read_json(stage.folder / "tests.json")
    return tests


def _row_records(suite: Suite, runs: Runs) -> Iterator[tuple[str, Record]]:
    """Records of one row on one data set, each with the name of its list."""
    all_metrics, names = list(runs.values()), suite.settings.metrics
    for protocol, blocks in all_metrics[0]["test"].items():
        same = [metrics["test"][protocol] for metrics in all_metrics]
        for number, group in enumerate(blocks["groups"]):
            labels = {name: group[name] for name in ("kind", "name", "cases", "apart") if name in group}
            means = _means([block["groups"][number] for block in same], names)
            yield "groups", {"protocol": protocol, **labels, **means}
        means = _means([block["head_by_popularity"] for block in same], names)
        yield "weighted_head", {"protocol": protocol, **means}
        if protocol == "full" and "exposure" in blocks:
            yield "exposure", _means([block["exposure"] for block in same], list(blocks["exposure"]))
    if "answers" in all_metrics[0]:  # of another system, whose model and training nobody knows
        yield "answers", all_metrics[0]["answers"]
        return
    yield "costs", _means([metrics["cost"] for metrics in all_metrics], list(all_metrics[0]["cost"]))
    if blends := [metrics["blend"]["weights"] for metrics in all_metrics if "blend" in metrics]:
        yield "blend", {"weights": {name: [b.get(name, 0.0) for b in blends] for name in blends[0]}}
    if alphas := _read_each(runs, "intent.json"):
        yield (
            "intent",
            {"alpha": {part: np.mean([a[part] for a in alphas], axis=0).tolist() for part in alphas[0]}},
        )
    if shares := _read_each(runs, "shares.json"):
        yield "shares", mean_shares(shares)
    trainings = [_training(suite, metrics) for metrics in all_metrics]
    last = [training["log"][-1] for training in trainings if training["log"]]
    if signs := [epoch for epoch in last if SIGNS[0] in epoch]:
        yield "diagnosis", _means(signs, SIGNS)
    for audit in _read_each(runs, "audit.json")[:1]:
        facts = ("level", "codebook_size", "used", "perplexity")
        levels = [{name: level[name] for name in facts} for level in audit["levels"]]
        yield "codes", {"levels": levels, "colliding_share": audit["collisions"]["rate"]}
    for (job, metrics), training in zip(runs.items(), trainings, strict=True):
        log, select = training["log"], training["selected_by"]
        yield (
            "curves",
            {
                "seed": job.seed,
                "loss": [[epoch["epoch"], round(epoch["loss"], 6)] for epoch in log],
                "valid": [[e["epoch"], round(e["valid"][select], 6)] for e in log if "valid" in e],
                "selected_by": select,
                # Of the weights that were chosen; where none are, of the epoch.
                "selected_value": (
                    metrics["blend"]["value"] if "blend" in metrics else metrics["training"]["best_value"]
                ),
                "best_epoch": metrics["training"]["best_epoch"],
                "parameters": metrics["training"]["parameters"],
                "seconds_per_epoch": metrics["timing"]["seconds_per_epoch"],
            },
        )


def _means(blocks: Sequence[Record], names: Sequence[str]) -> Record:
    """Means over seeds of the figures that there are; None where no seed has a case."""
    shown = [name for name in names if name in blocks[0]]
    values = {name: [block[name] for block in blocks if block[name] is not None] for name in shown}
    return {name: float(np.mean(known)) if known else None for name, known in values.items()}


def _read_each(runs: Runs, name: str) -> list[Record]:
    """Content of a file in each run's folder, where it exists and is not null."""
    paths = [job.folder / name for job in runs]
    return [content for path in paths if path.exists() and (content := read_json(path)) is not None]


def mean_shares(shares: Sequence[Record]) -> Record:
    """Mean over seeds of what each branch gives to the scores, by place of the list and by popularity.

    Popularity is a branch of those seeds alone whose validation gave it a weight: others' scores have none of it.
    """
    branches = list(dict.fromkeys(branch for run in shares for branch in run["branches"]))
    means: Record = {"branches": branches, "by_rank": {}, "by_popularity": {}}
    for kind in ("by_rank", "by_popularity"):
        for name in dict.fromkeys(name for run in shares for name in run[kind]):
            own = [dict(zip(s["branches"], s[kind][name], strict=True)) for s in shares if name in s[kind]]
            means[kind][name] = [float(np.mean([s.get(branch, 0.0) for s in own])) for branch in branches]
    return means


def _training(suite: Suite, metrics: Record) -> Record:
    folder = suite.stages / f"train-{metrics['provenance']['stages']['train']}"
    try:
        if folder.exists():
            read_stage(folder)
            training: Record = read_json(folder / "training.json")
            return training
    except DataError as error:
        logger.warning("curves and signs of a training are left out: %s; run the suite again", error.message)
    return {"log": [], "selected_by": None}
