"""Tables of a suite: means and spread over seeds, and paired tests against one row."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from h2rec.evaluation.significance import compare_models
from h2rec.experiments.suite import Job, Suite
from h2rec.experiments.tables import SLICES
from h2rec.files import read_json, write_json

LEVEL = 0.05
"""Corrected p-values below this are marked."""


def compare(suite: Suite) -> list[dict[str, Any]]:
    """Collect the figures of all finished runs, data set by data set.

    Returns
    -------
    list
        One record for each data set, protocol, slice, metric and model: `mean` and `spread` (standard
        deviation) over `seeds`, and against the tested row the `difference`, its interval and the
        Holm-corrected p-values; None for the tested row itself. Written to `results.json`, too.
    """
    records = []
    for data in suite.settings.data:
        jobs = [job for job in suite.finished() if job.data == data]
        if jobs:
            records += _records(suite, data, jobs)
    origins = [read_json(job.folder / "metrics.json")["provenance"] for job in suite.finished()]
    write_json(suite.out / "results.json", {"records": records, "provenance": origins})
    return records


def _records(suite: Suite, data: str, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    settings = suite.settings
    metrics = {job: read_json(job.folder / "metrics.json") for job in jobs}
    protocols = list(metrics[jobs[0]]["test"])
    names = [name for name in settings.models if any(job.model == name for job in jobs)]
    tests = _tests(suite, jobs, names, protocols, metrics[jobs[0]]["test"])
    records = []
    for protocol in protocols:
        for part in SLICES:
            for metric in settings.metrics:
                if metric not in metrics[jobs[0]]["test"][protocol][part]:
                    continue
                for name in names:
                    values = [
                        metrics[job]["test"][protocol][part][metric] for job in jobs if job.model == name
                    ]
                    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
                    record = {
                        "data": data,
                        "protocol": protocol,
                        "slice": part,
                        "metric": metric,
                        "model": name,
                    }
                    record |= {"mean": float(np.mean(values)), "spread": spread, "seeds": len(values)}
                    records.append(record | tests.get((protocol, part, metric, name), {}))
    return records


def _tests(
    suite: Suite, jobs: Sequence[Job], names: Sequence[str], protocols: Sequence[str], first: dict[str, Any]
) -> dict[tuple[str, ...], dict[str, Any]]:
    tested = suite.settings.tested
    if tested not in names or len(names) < 2:
        return {}
    ranks = {
        name: [_test_ranks(job.folder / "ranks.parquet") for job in jobs if job.model == name]
        for name in names
    }
    head = np.array(read_json(jobs[0].folder / "head.json"), dtype=bool)
    slices = {"overall": np.ones_like(head), "head": head, "tail": ~head}
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for protocol in protocols:
        metrics = [name for name in suite.settings.metrics if name in first[protocol]["overall"]]
        frame = compare_models(
            ranks, tested, metrics, protocol=protocol, slices=slices, family=("slice", "metric")
        )
        for row in frame.iter_rows(named=True):
            kept = {
                "difference": row["difference"],
                "relative": row["relative"],
                "low": row["low"],
                "high": row["high"],
            }
            kept |= {
                "p_bootstrap": row["p_bootstrap_holm"],
                "p_t": row["p_t_holm"],
                "effect_size": row["effect_size"],
            }
            found[protocol, row["slice"], row["metric"], row["other"]] = kept
    return found


def _test_ranks(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path).filter(pl.col("split") == "test")


def comparison_table(
    records: Sequence[dict[str, Any]], data: str, protocol: str, metrics: Sequence[str], tested: str
) -> Table:
    """Table of one data set and protocol, a block a slice, a row a model.

    Bold is the best mean of its column and slice; ``+`` or ``-`` tells that the tested row is better or
    worse than this one, corrected p < 0.05 in both tests.
    """
    chosen = [r for r in records if r["data"] == data and r["protocol"] == protocol]
    seeds = sorted({r["seeds"] for r in chosen})
    title = f"{data}, test, {protocol}, {'/'.join(map(str, seeds))} seeds, all against {tested}"
    table = Table(title=title, title_justify="left")
    table.add_column("items")
    table.add_column("model")
    shown = [metric for metric in metrics if any(r["metric"] == metric for r in chosen)]
    for metric in shown:
        table.add_column(metric, justify="right")
    names = list(dict.fromkeys(r["model"] for r in chosen))
    for part in SLICES:
        cells = {(r["model"], r["metric"]): r for r in chosen if r["slice"] == part}
        best = {metric: max(cells[name, metric]["mean"] for name in names) for metric in shown}
        for place, name in enumerate(names):
            row = [_cell(cells[name, metric], best[metric]) for metric in shown]
            table.add_row(part if place == 0 else "", name, *row, end_section=place == len(names) - 1)
    return table


def _cell(record: dict[str, Any], best: float) -> str:
    text = f"{record['mean']:.4f}"
    if record["spread"] is not None:
        text += f" ±{record['spread']:.4f}"
    if math.isclose(record["mean"], best):
        text = f"[bold]{text}[/]"
    return text + _mark(record)


def _mark(record: dict[str, Any]) -> str:
    if "difference" not in record:
        return "  "
    significant = max(record["p_bootstrap"], record["p_t"]) < LEVEL
    return (" +" if record["difference"] > 0 else " -") if significant else "  "
