"""Figures and tests of a suite: means and spread over seeds, paired tests against one row, best and second."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from h2rec.evaluation.significance import compare_models
from h2rec.files import read_json, write_json
from h2rec.frames import read_parquet
from h2rec.research.suite.evidence import context
from h2rec.research.suite.suite import Job, Suite
from h2rec.run.stages import StageStore
from h2rec.run.tables import SLICES

LEVEL = 0.05
"""Corrected p-values below this are marked."""

Record = dict[str, Any]


def evidence(suite: Suite) -> dict[str, Any]:
    """Collect all that the finished runs of a suite say; written to `results.json`, too.

    Returns
    -------
    dict
        ``records``: one for each data set, protocol, slice, metric and row: `mean` and `spread` (standard
        deviation) over `seeds`, `place` (1 best, 2 second), and against the tested row its `difference`, the
        `relative` one, its interval (`low`, `high`), Holm-corrected p-values and Cohen's d_z (`effect_size`).
        ``contrasts``: the further tests of the suite, one for each data set, protocol, slice, metric, `model` and
        `other`, with the same figures. Then what `evidence.context` tells. Reports and documents are made
        of this and of nothing else.
    """
    records: list[Record] = []
    contrasts: list[Record] = []
    for data in suite.settings.data:
        jobs = [job for job in suite.finished() if job.data == data]
        if jobs:
            metrics = {job: read_json(job.folder / "metrics.json") for job in jobs}
            records += _records(suite, data, metrics)
            contrasts += _contrasts(suite, data, metrics)
    found = {
        "suite": suite.name,
        "title": suite.settings.title,
        "tested": suite.settings.tested,
        "metrics": suite.settings.metrics,
        "records": records,
        "contrasts": contrasts,
        **context(suite),
    }
    write_json(suite.out / "results.json", found)
    return found


def _records(suite: Suite, data: str, metrics: Mapping[Job, Any]) -> list[Record]:
    names = [name for name in suite.settings.rows if any(job.model == name for job in metrics)]
    records = []
    for protocol, blocks in _blocks(metrics):
        reported = _reported(suite, blocks)
        if not reported:
            continue
        tests = _tests(suite, suite.settings.tested, names, metrics, protocol=protocol, reported=reported)
        for part in SLICES:
            for metric in reported:
                column = []
                for name in names:
                    found = [
                        of_run["test"][protocol][part][metric]
                        for job, of_run in metrics.items()
                        if job.model == name
                    ]
                    column.append(
                        {
                            "data": data,
                            "protocol": protocol,
                            "slice": part,
                            "metric": metric,
                            "model": name,
                            **over_seeds(found),
                            **tests.get(f"{part}/{metric}/{name}", {}),
                        }
                    )
                mark_places(column)
                records += column
    return records


def _contrasts(suite: Suite, data: str, metrics: Mapping[Job, Any]) -> list[Record]:
    """The further tests that the suite plans, among the rows that have figures; corrected over a row's others."""
    found = {job.model for job in metrics}
    records = []
    for protocol, blocks in _blocks(metrics):
        reported = _reported(suite, blocks)
        if not reported:
            continue
        for model, planned in suite.settings.contrasts.items():
            others = [name for name in planned if name in found]
            of_pair = {job: figures for job, figures in metrics.items() if job.model in (model, *others)}
            tests = _tests(suite, model, [*others, model], of_pair, protocol=protocol, reported=reported)
            records += [
                {
                    "data": data,
                    "protocol": protocol,
                    "slice": part,
                    "metric": metric,
                    "model": model,
                    "other": other,
                    **tests[f"{part}/{metric}/{other}"],
                }
                for other, part, metric in product(others, SLICES, reported)
                if f"{part}/{metric}/{other}" in tests
            ]
    return records


def _blocks(metrics: Mapping[Job, Any]) -> Iterable[tuple[str, Any]]:
    """Protocols and their figures in the first run: all runs of a data set report alike."""
    first: Mapping[str, Any] = next(iter(metrics.values()))["test"]
    return first.items()


def _reported(suite: Suite, blocks: Mapping[str, Any]) -> list[str]:
    """The suite's metrics that a protocol has: a sample of 100 has no Hit@500."""
    return [metric for metric in suite.settings.metrics if metric in blocks["overall"]]


def over_seeds(values: Sequence[float | None]) -> Record:
    """``mean`` and ``spread`` (standard deviation) of one figure over ``seeds``; None where nothing is to be told."""
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "spread": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "seeds": len(values),
    }


def mark_places(column: Sequence[Record]) -> None:
    """Number the rows of a column by their means; equal means share a place."""
    means = sorted({round(r["mean"], 12) for r in column if r["mean"] is not None}, reverse=True)
    for record in column:
        record["place"] = None if record["mean"] is None else means.index(round(record["mean"], 12)) + 1


def _tests(
    suite: Suite,
    tested: str,
    names: Sequence[str],
    metrics: Mapping[Job, Any],
    *,
    protocol: str,
    reported: list[str],
) -> dict[str, Record]:
    """Tests of rows against one of them, by ``slice/metric/row``; done once for the same runs."""
    jobs = list(metrics)
    if len(names) < 2 or all(job.model != tested for job in jobs):
        return {}
    keys = [[job.model, job.seed, metrics[job]["provenance"]["stages"]["evaluate"]] for job in jobs]
    depends = {"runs": keys, "tested": tested, "protocol": protocol, "metrics": reported}

    def work(folder: Path) -> None:
        ranks = {
            name: [_test_ranks(job.folder / "ranks.parquet") for job in jobs if job.model == name]
            for name in names
        }
        head = np.array(read_json(jobs[0].folder / "head.json"), dtype=bool)
        slices = {"overall": np.ones_like(head), "head": head, "tail": ~head}
        frame = compare_models(
            ranks, tested, reported, protocol=protocol, slices=slices, family=("slice", "metric")
        )
        write_json(folder / "tests.json", tests_against(frame))

    stage = StageStore(suite.stages).run("tests", depends, work)
    found: dict[str, Record] = read_json(stage.folder / "tests.json")
    return found


def tests_against(frame: pl.DataFrame) -> dict[str, Record]:
    """What `compare_models` found (corrected within slice and metric), by ``slice/metric/row``."""
    return {
        f"{row['slice']}/{row['metric']}/{row['other']}": {
            **{name: row[name] for name in ("difference", "relative", "low", "high")},
            "p_bootstrap": row["p_bootstrap_holm"],
            "p_t": row["p_t_holm"],
            "effect_size": row["effect_size"] if math.isfinite(row["effect_size"]) else None,
        }
        for row in frame.iter_rows(named=True)
    }


def _test_ranks(path: Path) -> pl.DataFrame:
    return read_parquet(path).filter(pl.col("split") == "test")


def significant(record: Mapping[str, Any]) -> bool:
    """Whether both corrected tests tell the tested row and this one apart."""
    return "p_t" in record and max(record["p_bootstrap"], record["p_t"]) < LEVEL


def lead_metric(metrics: Sequence[str]) -> str:
    """The metric that single sentences and plots speak of: the first NDCG, else the first metric."""
    return next((name for name in metrics if name.startswith("ndcg")), metrics[0])


def told_metrics(found: Mapping[str, Any], protocol: str) -> list[str]:
    """Metrics that sentences speak of in a protocol.

    They are the one that selected the models, if it is of this protocol and reported, and `lead_metric`.
    """
    reported = [r["metric"] for r in found["records"] if r["protocol"] == protocol]
    selected = [str(curve["selected_by"]).split(".") for curve in found["curves"]]
    of_protocol = [by[-1] for by in selected if by[0] == protocol and by[-1] in reported]
    return list(dict.fromkeys([*of_protocol, lead_metric(list(dict.fromkeys(reported)))]))


def contrast_rows(
    found: Mapping[str, Any], data: str, protocol: str
) -> dict[tuple[str, str], dict[tuple[str, str], Record]]:
    """Further comparisons of a data set and protocol: by row and other row, then by slice and metric."""
    rows: dict[tuple[str, str], dict[tuple[str, str], Record]] = {}
    for record in found.get("contrasts", []):
        if (record["data"], record["protocol"]) == (data, protocol):
            cells = rows.setdefault((record["model"], record["other"]), {})
            cells[record["slice"], record["metric"]] = record
    return rows


def gain(record: Mapping[str, Any]) -> str:
    """A relative difference in words; a dash where the other row found nothing."""
    return "–" if record["relative"] is None else f"{record['relative']:+.1%}"


def verdicts(found: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each entry of `standing`."""
    tested = found["tested"]
    for s in standing(found):
        place = "best" if s["place"] == 1 else f"number {s['place']} of {s['rows']}"
        sentence = f"{s['data']}, {s['protocol']}, {s['slice']}: {tested} is {place} in {s['metric']}"
        if s["gain"] is None or s["p"] is None:
            yield sentence
            continue
        p = "p < 0.001" if s["p"] < 0.001 else f"p = {s['p']:.3f}"
        told = p if s["tone"] else f"{p}, not significant"
        if s["effect"] is not None:
            told += f", d {s['effect']:+.3f}"
        yield f"{sentence}, {s['gain']:+.1%} against {s['rival']} ({told})"


def standing(found: Mapping[str, Any]) -> Iterator[Record]:
    """Where the tested row stands, by data set, protocol, metric (see `told_metrics`) and slice.

    Yields
    ------
    dict
        ``data, protocol, metric, slice, place, rows, mean``, the best other row as ``rival`` and ``rival_mean``, the
        ``gain`` over it, ``p`` (the larger corrected one), ``effect`` (d_z) and ``tone``: good or bad where the
        difference is significant, else empty.
    """
    tested = found["tested"]
    for data, protocol in blocks_of(found):
        for metric, part in product(told_metrics(found, protocol), SLICES):
            column = [r for r in column_of(found, data, protocol, part, metric) if r["mean"] is not None]
            ours = next((r for r in column if r["model"] == tested), None)
            others = [r for r in column if r["model"] != tested]
            if ours is None or not others:
                continue
            rival = max(others, key=lambda r: float(r["mean"]))
            gain = ours["mean"] / rival["mean"] - 1 if rival["mean"] else None
            yield {
                "data": data,
                "protocol": protocol,
                "metric": metric,
                "slice": part,
                "place": ours["place"],
                "rows": len(column),
                "mean": ours["mean"],
                "rival": rival["model"],
                "rival_mean": rival["mean"],
                "gain": gain,
                "p": max(rival["p_bootstrap"], rival["p_t"]) if "p_t" in rival else None,
                "effect": rival.get("effect_size"),
                "tone": ("good" if rival["difference"] > 0 else "bad") if significant(rival) else "",
            }


def changes_along(found: Mapping[str, Any], metric: str) -> list[Record]:
    """How a metric of every model changes along a swept key, relative to that model at the key's first value.

    Returns
    -------
    list
        ``data, protocol, slice, model, key, value, relative``; `relative` is None where the first value found nothing,
        or was not run.
    """
    first: dict[tuple[str, ...], float] = {}
    starts: dict[tuple[str, str], Any] = {}
    for row in found["rows"].values():
        starts.setdefault((row["model"], row["key"]), row["value"])
    changes = []
    for record in found["records"]:
        row = found["rows"][record["model"]]
        if record["metric"] != metric or row["key"] is None or record["mean"] is None:
            continue
        place = {name: record[name] for name in ("data", "protocol", "slice")}
        place |= {"model": row["model"], "key": row["key"]}
        if row["value"] == starts[row["model"], row["key"]]:
            first[tuple(place.values())] = record["mean"]
        start = first.get(tuple(place.values()))
        relative = record["mean"] / start - 1 if start else None
        changes.append(place | {"value": row["value"], "relative": relative})
    return changes


def blocks_of(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Data sets and protocols that figures are there for."""
    return list(dict.fromkeys((r["data"], r["protocol"]) for r in found["records"]))


def column_of(found: Mapping[str, Any], data: str, protocol: str, part: str, metric: str) -> list[Record]:
    """Records of one column of the tables, a row each."""
    wanted = (data, protocol, part, metric)
    return [r for r in found["records"] if (r["data"], r["protocol"], r["slice"], r["metric"]) == wanted]
