"""One experiment from end to end, with an outcome that is known."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from h2rec.claims import claim_names
from h2rec.data.dataset import Dataset
from h2rec.experiments.rehearsal.play import NAME, Played, play, served
from h2rec.experiments.rehearsal.truth import Lists, budgets, true_cost, true_values
from h2rec.experiments.rehearsal.world import World
from h2rec.files import read_json, write_json, write_text
from h2rec.retrieval.recommender import Recommender

RESULTS = "rehearsal.json"
PLAN = "plan.yaml"
LOG = "log"
_SERVED = "served"
_EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
"""When the made time begins, a Monday."""
_HALF_AN_HOUR = 1800.0


def is_rehearsal(folder: Path) -> bool:
    """Whether a folder has what `h2rec rehearse` wrote."""
    return (folder / RESULTS).is_file() and "rehearsal" in read_json(folder / RESULTS)


def rehearse(
    bundles: tuple[Path, Path],
    dataset: Dataset,
    folder: Path,
    *,
    users: int,
    days: int,
    before: int,
    k: int,
    seed: int,
) -> dict[str, Any]:
    """Play an experiment of two bundles, and write down its log, the plan of its analysis, and the truth.

    `bundles`: of control and treatment. `before`: days before it begins, when all get the control. Returns the content
    of `rehearsal.json`.

    Raises `DataError` if the data have no such users or a bundle lists items that they have not; `BundleError` if a
    bundle can't be loaded; `H2RecError` if the folder holds what is not ours or the server does not do its part.
    """
    claim_names(folder, (RESULTS, PLAN, LOG, _SERVED, "experiment.yaml"), is_rehearsal)
    world = World.of(dataset, users, seed)
    control, treatment = (Recommender.load(bundle) for bundle in bundles)
    lists = {"control": Lists.of(control, world, k), "treatment": Lists.of(treatment, world, k)}
    head = np.zeros(len(world.numbers) + 1, np.bool_)
    for item, row in control.catalogue.index.items():
        head[world.numbers.get(item, 0)] = control.catalogue.head[row]
    head[0] = False
    daily = budgets(world, lists["control"])
    came = np.random.default_rng([seed, 5]).random((before + days, users)) < world.visits
    for left in (folder / LOG, folder / _SERVED):
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"users": users, "days": days, "before": before, "k": k, "seed": seed}
    write_json(folder / RESULTS, {"rehearsal": asked})  # should it be stopped, the folder is known as ours
    with served(*bundles, folder) as switch:
        played = play(world, switch, came, before=before, budgets=daily, k=k, seed=seed)
    _stretch(folder / _SERVED, folder / LOG, played)
    start = _EPOCH + timedelta(days=before)
    plan = {
        "experiment": NAME,
        "control": "control",
        "start": start.isoformat(),
        "end": (start + timedelta(days=days)).isoformat(),
        "pre_days": before,
        "days": days,
        "looks": [days],
        "least_days": min(7, days),
        "bundle": str(bundles[0].absolute()),
        "seed": seed,
    }
    write_text(folder / PLAN, yaml.safe_dump(plan, sort_keys=False))
    during = came[before:]
    truth = {}
    for arm, shown in lists.items():
        truth[arm] = true_values(world, shown, head, during.sum(axis=0))
        truth[arm]["cost"] = true_cost(world, shown, daily, during, seed)
    results = {
        "rehearsal": asked,
        "bundles": {arm: str(path) for arm, path in zip(lists, bundles, strict=True)},
        "played": {"answers": played.answers, "events": played.events, "seconds": played.seconds},
        "same_lists": float((lists["control"].items == lists["treatment"].items).all(axis=1).mean()),
        "truth": truth,
    }  # fmt: skip
    write_json(folder / RESULTS, results)
    return results


def beside(truth: Mapping[str, Mapping[str, float]], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The true lift of every metric beside its estimate: `found` are the metrics of `h2rec abtest`."""
    rows = []
    for name, row in found["treatment"].items():
        low, high = row["low"], row["high"]
        if any(name not in of_arm for of_arm in truth.values()) or low is None or not truth["control"][name]:
            continue
        lift = truth["treatment"][name] / truth["control"][name] - 1
        rows.append(
            {
                "metric": name,
                "title": row["title"],
                "truth": lift,
                "estimate": row["lift"],
                "low": low,
                "high": high,
                "covered": bool(low <= lift <= high),
            }
        )
    return rows


def _stretch(source: Path, target: Path, played: Played) -> None:
    """Copy a log, its times stretched: what was played in seconds has the times of the made days.

    The last list is shown half an hour before the last day is over, however long the machine took for what came after
    it: the log tells no other end of that day.
    """
    target.mkdir()
    logs = {
        path.name: [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
        for path in sorted(source.iterdir())
    }
    played_at = {
        name: [datetime.fromisoformat(row["time"]).timestamp() for row in logs[name]] for name in logs
    }
    made = [_EPOCH.timestamp() + 86_400.0 * day for day in range(len(played.began))]
    lists = [
        at
        for name, rows in logs.items()
        for row, at in zip(rows, played_at[name], strict=True)
        if row["event"] == "impressions"
    ]
    # Perhaps nobody came on the last day.
    began = [*played.began[:-1], max([played.began[-2], *lists]), played.began[-1]]
    made.insert(-1, made[-1] - _HALF_AN_HOUR)
    for name, rows in logs.items():
        times = np.interp(played_at[name], began, made)
        moments = [
            datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") for at in times.tolist()
        ]
        lines = [json.dumps(row | {"time": at}) for row, at in zip(rows, moments, strict=True)]
        write_text(target / name, "".join(f"{line}\n" for line in lines))
