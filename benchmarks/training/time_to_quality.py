"""CPU seconds of training until our SASRec and H2Rec reach the best validation NDCG@10 of RecBole's SASRec.

RecBole trains until `--patience` epochs bring nothing better, which takes hours on the larger data sets: `curve.json`
grows with every epoch, and a later call takes what is there if RecBole has ended. Ours train as they do by default,
and validate after every epoch.
All sides: d = 64, 2 layers, one thread, the same training sequences; RecBole with the batch that its epochs are
fastest with. Times are of training alone, validation apart.

Run: python benchmarks/training/time_to_quality.py --data scientific [--envs FOLDER] [--epochs 60]
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from beauty import DATASETS, RESULTS, RUNS, SEED
from exchange import write_cases
from peers import FASTEST, SETTINGS, cores, start_peer

from h2rec.errors import H2RecError
from h2rec.files import read_json, write_json
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance

OURS: dict[str, dict[str, Any]] = {
    "SASRec, cold": {"preset": "sasrec"},
    "SASRec, cold, dropout 0.5": {"preset": "sasrec", "model": {"dropout": 0.5}},
    "SASRec, warm": {"preset": "sasrec_warm"},
    "H2Rec, two branches": {"preset": "h2rec_two_branches"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["scientific", "beauty", "yelp"], default="beauty")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--patience", type=int, default=5)
    parser.add_argument("--envs", type=Path, default=RUNS / "envs", help="Where RecBole's environment is.")
    options = parser.parse_args()
    out = RUNS / "time_to_quality" / options.data
    theirs = recbole_curve(options, out)
    goal = max(point["ndcg@10"] for point in theirs["curve"])
    best = next(point for point in theirs["curve"] if point["ndcg@10"] == goal)
    record: dict[str, Any] = {
        "provenance": provenance(SEED),
        "data": options.data,
        "goal": goal,
        "recbole": {**theirs, "cpu_seconds": best["cpu_seconds"], "epochs": best["epoch"]},
        "ours": {},
    }
    for name in OURS:
        curve = our_curve(options, name)
        reached = [point for point in curve if point["ndcg@10"] >= goal]
        first = reached[0] if reached else None
        record["ours"][name] = {"curve": curve, "reached": first}
        if first:
            record["ours"][name]["times_faster"] = best["cpu_seconds"] / first["cpu_seconds"]
        print(name, first, flush=True)
    write_json(RESULTS / f"time_to_quality-{options.data}.json", record)


def config(options: argparse.Namespace, name: str) -> RunConfig:
    """One of ours, validated on all users after every epoch."""
    folder = DATASETS / options.data
    return RunConfig.parse(
        {
            **OURS[name],
            "data": {
                "interactions": str(folder / f"{options.data}.inter"),
                "items": str(folder / f"{options.data}.item"),
            },
            "train": {
                "seed": SEED,
                "select": "full.overall.ndcg@10",
                "evaluate_every": 1,
                "evaluate_users": None,
                "patience": None,
            },
            "runtime": {"threads": 1, "device": "cpu"},
        }
    )


def our_curve(options: argparse.Namespace, name: str) -> list[dict[str, float]]:
    """Training's CPU seconds so far and validation NDCG@10, after every epoch."""
    pipeline = Pipeline(config(options, name), RUNS / "time_to_quality" / "ours", RUNS / "stages")
    trainer = pipeline.trainer(None)
    curve: list[dict[str, float]] = []
    spent = {"seconds": 0.0, "started": time.process_time()}
    validate = trainer.validate
    assert validate is not None

    def watched() -> dict[str, float]:
        spent["seconds"] += time.process_time() - spent["started"]
        metrics = validate()
        point = {"epoch": len(curve) + 1, "cpu_seconds": spent["seconds"]}
        curve.append(point | {"ndcg@10": metrics["full.overall.ndcg@10"]})
        spent["started"] = time.process_time()
        return metrics

    trainer.validate = watched
    trainer.fit()
    return curve


def recbole_curve(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """RecBole's curve: that on disk if it was trained to its end, else trained now."""
    done = out / "recbole" / "done"
    if not done.exists():
        split = Pipeline(
            config(options, "SASRec, cold"), RUNS / "time_to_quality" / "ours", RUNS / "stages"
        ).split
        pairs = ((np.asarray(h.offsets), np.asarray(h.items)) for h in (split.train, split.valid.histories))
        out.mkdir(parents=True, exist_ok=True)
        write_cases(out / "cases.npz", split.item_count, *pairs, np.asarray(split.valid.targets))
        settings = SETTINGS | FASTEST | {"epochs": options.epochs, "patience": options.patience}
        process = start_peer(
            "recbole",
            "peer_recbole_quality.py",
            out / "cases.npz",
            out / "recbole",
            settings,
            envs=options.envs.resolve(),
            core=cores(1)[0],
        )
        if process.wait():
            raise H2RecError("RecBole failed", f"see {out / 'recbole' / 'log.txt'}")
        done.touch()
    curve: dict[str, Any] = read_json(out / "recbole" / "curve.json")
    return curve


if __name__ == "__main__":
    main()
