"""Seconds of one epoch on Beauty: our SASRec with each loss and our H2Rec, RecBole's SASRec and RecTools' SASRec.

All sides: d = 64, 2 layers, 2 heads, length 50, CPU, one thread each, the same training targets. RecBole 1.2.1 trains
with full softmax, RecTools 0.19 with sampled softmax and 512 negatives, each through its own data loader and trainer.
Processes run two at a time, each on a core of its own: ours, then the two peers, then ours again.

The peers are measured at their default batch, and at the batch that is fastest here (found by trying 128 to 2048
targets and 16 to 128 sequences); the ratios are to the fastest. With `--share` their time is measured on a random
share of their batches, which all have one shape, and scaled; `--share 1` measures whole epochs, at the fastest batch
alone. Ratios are of CPU seconds of processes with one thread, which a busy machine disturbs least; wall seconds stand
beside them.

Run: python benchmarks/training/epochs.py [--share 0.1] [--envs FOLDER]
"""

import argparse
import os
from pathlib import Path
from statistics import median
from typing import Any

from beauty import RESULTS, RUNS, SEED, VARIANTS
from peers import FASTEST, SETTINGS, cores, finish, fresh_folder, start_ours, start_peer

from h2rec.files import read_json, write_json
from h2rec.run.provenance import provenance

BEFORE = ["sasrec", "h2rec", *VARIANTS]
AFTER = [name for name in VARIANTS if name not in ("sasrec-softmax", "sasrec-per-target")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--share", type=float, default=0.1, help="Share of the peers' batches; 1 for whole epochs."
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="Rounds of ours on each core, before and after."
    )
    parser.add_argument("--envs", type=Path, default=RUNS / "envs", help="Where the peers' environments are.")
    options = parser.parse_args()
    out = fresh_folder("epochs")
    envs = options.envs.resolve()
    ours = our_rounds(out / "before", BEFORE, options.rounds)
    load = os.getloadavg()[0]
    peers = peer_epochs(out / "fastest", FASTEST | {"share": options.share}, envs)
    default = peer_epochs(out / "default", {"share": options.share / 2}, envs) if options.share < 1 else None
    load = max(load, os.getloadavg()[0])
    ours += our_rounds(out / "after", [*AFTER, "sasrec", "h2rec"], options.rounds)
    summary = {name: _summary([row for row in ours if row["variant"] == name]) for name in VARIANTS}
    sasrec = summary["sasrec"]["cpu_seconds"]
    record = {
        "provenance": provenance(SEED),
        "share": options.share,
        "settings": SETTINGS,
        "fastest_batches": FASTEST,
        # Above the number of cores, others wanted them too.
        "load_average": load,
        "ours": {name: {"says": VARIANTS[name].says, **figures} for name, figures in summary.items()},
        "peers": peers,
        "peers_at_default_batches": default,
        "ratios": {
            "recbole/sasrec": peers["recbole"]["epoch_cpu_seconds"] / sasrec,
            "recbole/sasrec-softmax": peers["recbole"]["epoch_cpu_seconds"]
            / summary["sasrec-softmax"]["cpu_seconds"],
            "rectools/sasrec": peers["rectools"]["epoch_cpu_seconds"] / sasrec,
            "rectools/sasrec-per-target": peers["rectools"]["epoch_cpu_seconds"]
            / summary["sasrec-per-target"]["cpu_seconds"],
            "h2rec/sasrec": summary["h2rec"]["cpu_seconds"] / sasrec,
        },
        "rows": ours,
    }
    name = "epochs-whole.json" if options.share >= 1 else "epochs.json"
    write_json(RESULTS / name, record)
    print(record["ratios"], RESULTS / name)


def our_rounds(out: Path, names: list[str], rounds: int) -> list[dict[str, Any]]:
    """Epochs of some variants on two cores side by side."""
    processes = {}
    for core in cores(2):
        folder = out / f"core-{core}"
        words = [str(folder), str(rounds), *names]
        processes[folder] = start_ours("our_epochs.py", words, folder, core=core)
    finish(processes)
    return [row for folder in processes for row in read_json(folder / "outcome.json")]


def peer_epochs(out: Path, settings: dict[str, Any], envs: Path) -> dict[str, Any]:
    """Both peers' epochs side by side."""
    processes = {}
    for peer, core in zip(("recbole", "rectools"), cores(2), strict=True):
        folder, script = out / peer, f"peer_{peer}_epoch.py"
        processes[folder] = start_peer(
            peer, script, out.parent / "cases.npz", folder, settings, envs=envs, core=core
        )
    finish(processes)
    return {folder.name: read_json(folder / "outcome.json") for folder in processes}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    cpu = [row["cpu_seconds"] for row in rows]
    return {
        "cpu_seconds": median(cpu),
        "cpu_seconds_range": [min(cpu), max(cpu)],
        "seconds": median(row["seconds"] for row in rows),
        "epochs": len(rows),
        "targets": rows[0]["targets"],
    }


if __name__ == "__main__":
    main()
