"""What a suite's runs say beside the main figures: groups, exposure, intent, codes, curves, cost, origin."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from h2rec.errors import DataError
from h2rec.files import read_json
from h2rec.research.suite.suite import Job, Suite
from h2rec.run.stages import read_stage

logger = logging.getLogger(__name__)

Record = dict[str, Any]


def context(suite: Suite) -> dict[str, Any]:
    """Collect it from the finished runs.

    Returns
    -------
    dict
        ``data``: sizes of the data sets. ``rows``: model, swept key and value of every row. ``groups``: means over
        seeds by popularity, history length and code collision; ``weighted_head``: the head weighted by popularity.
        ``exposure``: who gets shown. ``blend``: weights that validation chose for H2Rec's branches, one a seed.
        ``intent``: alpha by level. ``shares``: what each branch gives to the scores. ``diagnosis``: the failure signs
        of the last epoch of training, means over seeds. ``codes``: use of the codebooks. ``curves``: loss and
        validation by epoch. ``repeats``: by data set, how they were treated and how many there are.
        ``tuned``: by data set, rows whose settings were searched. ``cost``, ``failures`` and ``provenance``.
    """
    found: dict[str, list[Record]] = {
        name: []
        for name in (
            "groups",
            "weighted_head",
            "exposure",
            "blend",
            "intent",
            "shares",
            "diagnosis",
            "codes",
            "curves",
        )
    }
    sizes, repeats = {}, {}
    finished = suite.finished()
    for data in suite.settings.data:
        for row in suite.settings.rows:
            jobs = [job for job in finished if (job.data, job.model) == (data, row)]
            if not jobs:
                continue
            metrics = [read_json(job.folder / "metrics.json") for job in jobs]
            sizes[data] = {name: metrics[0]["data"].get(name) for name in ("users", "items", "interactions")}
            repeats[data] = metrics[0]["repeats"]
            origin = {"data": data, "model": row}
            found["groups"] += [origin | group for group in _groups(metrics, suite.settings.metrics)]
            found["weighted_head"] += [
                origin | block for block in _weighted_head(metrics, suite.settings.metrics)
            ]
            found["exposure"] += [origin | block for block in _exposure(metrics)]
            found["blend"] += [origin | block for block in _blend(metrics)]
            found["intent"] += [origin | block for block in _intent(jobs)]
            found["shares"] += [origin | block for block in _shares(jobs)]
            found["diagnosis"] += [origin | block for block in _diagnosis(suite, metrics)]
            found["codes"] += [origin | block for block in _codes(jobs[0])]
            found["curves"] += [
                origin | _curve(suite, job, of_job) for job, of_job in zip(jobs, metrics, strict=True)
            ]
    rows = suite.settings.rows
    return {
        "data": sizes,
        "repeats": repeats,
        "rows": {
            name: {"model": row.model, "key": row.key, "value": row.value} for name, row in rows.items()
        },
        **found,
        "tuned": {data: [row for where, row in suite.searched if where == data] for data in sizes},
        "cost": _cost(suite, finished),
        "failures": [
            {"data": job.data, "model": job.model, "seed": job.seed, "error": error}
            for job, error in suite.failed().items()
        ],
        "provenance": _provenance(finished),
    }


def _groups(metrics: Sequence[Record], names: Sequence[str]) -> Iterable[Record]:
    for protocol, blocks in metrics[0]["test"].items():
        for number, group in enumerate(blocks["groups"]):
            same = [of_run["test"][protocol]["groups"][number] for of_run in metrics]
            told = {
                "protocol": protocol,
                "kind": group["kind"],
                "name": group["name"],
                "cases": group["cases"],
                **({"apart": group["apart"]} if "apart" in group else {}),
            }
            yield told | _means(same, [name for name in names if name in group])


def _weighted_head(metrics: Sequence[Record], names: Sequence[str]) -> Iterable[Record]:
    for protocol, blocks in metrics[0]["test"].items():
        same = [of_run["test"][protocol]["head_by_popularity"] for of_run in metrics]
        reported = [name for name in names if name in blocks["head_by_popularity"]]
        yield {"protocol": protocol, **_means(same, reported)}


def _exposure(metrics: Sequence[Record]) -> Iterable[Record]:
    same = [
        of_run["test"]["full"]["exposure"]
        for of_run in metrics
        if "exposure" in of_run["test"].get("full", {})
    ]
    if same:
        yield _means(same, list(same[0]))


def _blend(metrics: Sequence[Record]) -> Iterable[Record]:
    found = [of_run["blend"]["weights"] for of_run in metrics if "blend" in of_run]
    if found:
        yield {"weights": {branch: [weights.get(branch, 0.0) for weights in found] for branch in found[0]}}


def _intent(jobs: Sequence[Job]) -> Iterable[Record]:
    found = [read_json(path) for job in jobs if (path := job.folder / "intent.json").exists()]
    found = [of_run for of_run in found if of_run is not None]
    if found:
        yield {"alpha": {part: np.mean([f[part] for f in found], axis=0).tolist() for part in found[0]}}


def _shares(jobs: Sequence[Job]) -> Iterable[Record]:
    found = [read_json(path) for job in jobs if (path := job.folder / "shares.json").exists()]
    found = [of_run for of_run in found if of_run is not None]
    if not found:
        return
    # Popularity is a branch of those seeds alone whose validation gave it a weight: others' scores have none of it.
    branches = list(dict.fromkeys(branch for of_run in found for branch in of_run["branches"]))
    told: Record = {"branches": branches}
    for kind in ("by_rank", "by_popularity"):
        told[kind] = {}
        for name in dict.fromkeys(name for of_run in found for name in of_run[kind]):
            given = [
                dict(zip(of_run["branches"], of_run[kind][name], strict=True))
                for of_run in found
                if name in of_run[kind]
            ]
            told[kind][name] = [
                float(np.mean([of_run.get(branch, 0.0) for of_run in given])) for branch in branches
            ]
    yield told


SIGNS = ("alpha_entropy", "mca_to_hid_norm", "positives_per_item")
"""What a training's log tells of the ways in which two branches fail."""


def _diagnosis(suite: Suite, metrics: Sequence[Record]) -> Iterable[Record]:
    logs = [_training(suite, of_run)["log"] for of_run in metrics]
    last = [log[-1] for log in logs if log and SIGNS[0] in log[-1]]
    if last:
        yield {name: float(np.mean([epoch[name] for epoch in last])) for name in SIGNS if name in last[0]}


def _training(suite: Suite, metrics: Record) -> Record:
    folder = suite.stages / f"train-{metrics['provenance']['stages']['train']}"
    try:
        if folder.exists():
            read_stage(folder)
            found: Record = read_json(folder / "training.json")
            return found
    except DataError as error:
        logger.warning("curves and signs of a training are left out: %s; run the suite again", error.message)
    return {"log": [], "selected_by": None}


def _codes(job: Job) -> Iterable[Record]:
    path = job.folder / "audit.json"
    if path.exists():
        audited = read_json(path)
        levels = [
            {name: level[name] for name in ("level", "codebook_size", "used", "perplexity")}
            for level in audited["levels"]
        ]
        yield {"levels": levels, "colliding_share": audited["collisions"]["rate"]}


def _curve(suite: Suite, job: Job, metrics: Record) -> Record:
    trained = _training(suite, metrics)
    select = trained["selected_by"]
    return {
        "seed": job.seed,
        "loss": [[entry["epoch"], round(entry["loss"], 6)] for entry in trained["log"]],
        "valid": [[e["epoch"], round(e["valid"][select], 6)] for e in trained["log"] if "valid" in e],
        "selected_by": select,
        "best_epoch": metrics["training"]["best_epoch"],
        "parameters": metrics["training"]["parameters"],
        "seconds_per_epoch": metrics["timing"]["seconds_per_epoch"],
    }


def _means(blocks: Sequence[Record], names: Sequence[str]) -> Record:
    found: Record = {}
    for name in names:
        values = [block[name] for block in blocks if block[name] is not None]
        found[name] = float(np.mean(values)) if values else None
    return found


def _cost(suite: Suite, finished: Sequence[Job]) -> Record:
    """CPU hours of all stages that the runs stand on, whoever made them; what rows share counts for the first one."""
    seconds = dict.fromkeys(suite.settings.rows, 0.0)
    counted = set()
    for job in finished:
        origin = read_json(job.folder / "metrics.json")["provenance"]
        for name, key in origin["stages"].items():
            if (name, key) not in counted:
                counted.add((name, key))
                seconds[job.model] += origin["made"][name]["cpu_seconds"]
    return {
        "runs": len(suite.jobs),
        "runs_finished": len(finished),
        "cpu_hours": sum(seconds.values()) / 3600,
        "cpu_hours_by_row": {row: value / 3600 for row, value in seconds.items()},
    }


def _provenance(finished: Sequence[Job]) -> Record:
    """What the runs have in common or not: each fact as the list of its different values.

    Of the stages that decide the figures, that is, not of the command that collected them: a stage may be another's.
    """
    runs = [read_json(job.folder / "metrics.json")["provenance"] for job in finished]
    origins = [
        made for run in runs for name, made in run["made"].items() if name in ("train", "blend", "evaluate")
    ]
    dates = sorted(origin["date"] for origin in origins)
    machines = {tuple(origin["machine"].items()) for origin in origins}
    return {
        "commands": sorted({origin["command"] for origin in origins}),
        "commits": sorted({str(origin["commit"]) for origin in origins}),
        "h2rec": sorted({origin["h2rec"] for origin in origins}),
        "seeds": sorted({run["seed"] for run in runs}),
        "machines": [dict(facts) for facts in sorted(machines, key=str)],
        "first": dates[0] if dates else None,
        "last": dates[-1] if dates else None,
    }
