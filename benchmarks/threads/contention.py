"""What a training costs beside other work: seconds alone, and beside busy processes, as ratios.

`h2rec train` on made data, in a process of its own, with one, two and all threads: first alone, then beside as many
busy loops as there are cores, by turns. With `--policies` also with other waiting policies of OpenMP, for comparison:

    ours      what h2rec sets by itself
    active    as OpenMP libraries wait by default: threads spin at barriers (GOMP_SPINCOUNT, KMP_BLOCKTIME)
    passive   OMP_WAIT_POLICY=PASSIVE

Whatever else runs on the machine disturbs the figures; alone and beside are measured in turns, and the median of the
rounds is told.

Run: python benchmarks/threads/contention.py [--rounds 3] [--policies ours active]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from h2rec.cores import available_cores
from h2rec.files import write_json
from h2rec.run.provenance import provenance

RESULTS = Path(__file__).parent / "results"
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
POLICIES: dict[str, dict[str, str]] = {
    "ours": {},
    # GNU's default where there are no more threads than cores, and Intel's.
    "active": {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin1000": {"GOMP_SPINCOUNT": "1000"},
    "spin10000": {"GOMP_SPINCOUNT": "10000"},
}
USERS, ITEMS, LENGTH = 400, 1000, 20


def shop(folder: Path) -> Path:
    """Write made data and a configuration of a short training; return the configuration."""
    stream = np.random.default_rng(0)
    kinds = ("mug", "lamp", "chair", "scarf", "kettle")
    titles = [f"{kinds[item % 5]} number {item}" for item in range(ITEMS)]
    rows = ["item_id,title", *(f"i{item},{title}" for item, title in enumerate(titles))]
    (folder / "items.csv").write_text("\n".join(rows))
    rows = ["user_id,item_id,timestamp"]
    for user in range(USERS):
        start = stream.integers(ITEMS)
        rows += [f"u{user},i{(start + 5 * step) % ITEMS},{step}" for step in range(LENGTH)]
    (folder / "interactions.csv").write_text("\n".join(rows))
    values = {
        "data": {"interactions": "interactions.csv", "items": "items.csv"},
        "text": {"encoder": "tfidf", "dim": 64},
        "semantic_ids": {"quantizer": "rqkmeans", "codebook_size": 64},
        "train": {"epochs": 1, "evaluate_users": 100},
        "runtime": {"device": "cpu"},
    }
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def h2rec(*words: str, variables: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-m", "h2rec", "--quiet", *words]
    subprocess.run(command, check=True, env=environment | variables, stdout=subprocess.DEVNULL)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that compute without end."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


class Trainings:
    """Trainings that differ in their seed, on the same finished stages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = shop(folder)
        self.seed = 0
        h2rec("tokenize", str(self.config), "--out", str(folder / "out"), variables={"OMP_NUM_THREADS": "1"})

    def seconds(self, threads: int | None, policy: str) -> float:
        """Seconds of one training, without what comes before it."""
        self.seed += 1
        known = set(self.folder.glob("out/stages/train-*"))
        settings = ("--set", f"train.seed={self.seed}", "--set", f"runtime.threads={json.dumps(threads)}")
        words = ("train", str(self.config), "--out", str(self.folder / "out"), *settings)
        h2rec(*words, variables=POLICIES[policy])
        (stage,) = set(self.folder.glob("out/stages/train-*")) - known
        return float(json.loads((stage / "training.json").read_text())["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=["ours"])
    parser.add_argument("--threads", nargs="+", type=json.loads, default=[1, 2, None])
    parser.add_argument("--out", type=Path, default=RESULTS / "contention.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainings = Trainings(Path(folder))
        cases = [(policy, threads) for policy in options.policies for threads in options.threads]
        alone: dict[Any, list[float]] = {case: [] for case in cases}
        beside: dict[Any, list[float]] = {case: [] for case in cases}
        for _ in range(options.rounds):
            for policy, threads in cases:
                alone[policy, threads].append(trainings.seconds(threads, policy))
                with busy(available_cores()):
                    beside[policy, threads].append(trainings.seconds(threads, policy))
        for policy, threads in cases:
            quiet, loaded = (statistics.median(seconds[policy, threads]) for seconds in (alone, beside))
            row = {
                "policy": policy,
                "threads": threads,
                "seconds_alone": quiet,
                "seconds_beside": loaded,
                "ratio": loaded / quiet,
                "alone": alone[policy, threads],
                "beside": beside[policy, threads],
            }
            rows.append(row)
            print(
                f"{policy}, {threads or 'all'} threads: {quiet:.2f} s alone, {loaded:.2f} s beside, "
                f"{row['ratio']:.1f} times"
            )
    record = {"provenance": provenance(0), "busy_processes": available_cores(), "rows": rows}
    write_json(options.out, record)


if __name__ == "__main__":
    main()
