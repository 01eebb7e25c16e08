"""Every user's list: how long the nightly job takes, and how much memory, by the number of users.

The command runs as a process of its own on a folder of Parquet parts, for each size; the first also as one file, and
once more killed by the system after its first part. The bundle has random weights: its answers take as long as a
trained one's.

    python benchmarks/freshness/nightly.py --users 10000 20000 40000
    python benchmarks/freshness/nightly.py --users 500000 10000000 --dim 32 --items 2000 --keep
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from counts import made_bundle, popular

from h2rec.run.provenance import origin

RESULTS = Path(__file__).parent / "results"
MEAN_LENGTH, LONGEST = 9, 50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--parts-of", type=int, default=10_000, help="Users in a part.")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=300_000, help="Interactions that the bundle knows.")
    parser.add_argument("--dim", type=int, help="Width of the model, where it is not the default.")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--name", default="nightly")
    parser.add_argument("--keep", action="store_true", help="Keep the figures beside this script.")
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    with TemporaryDirectory() as room:
        folder = Path(room)
        made_bundle(folder, asked.items, asked.events, random, asked.dim)
        runs = []
        for users in asked.users:
            source = folder / f"histories-{users}"
            write_histories(source, users, asked.parts_of, asked.items, random)
            runs.append(
                {"users": users, "input": "parts", **timed(folder, source, f"lists-{users}", asked.k)}
            )
            print(runs[-1], flush=True)
        users = asked.users[0]
        first = folder / f"histories-{users}"
        one = one_file(first)
        runs.append({"users": users, "input": "one file", **timed(folder, one, "lists.parquet", asked.k)})
        print(runs[-1], flush=True)
        figures: dict[str, Any] = {**vars(asked), "runs": runs, "killed": killed(folder, first, asked)}
    # A line through the sizes: what a user costs, beside what starting costs.
    sizes = [run["users"] for run in runs if run["input"] == "parts"]
    spent = [run["cpu_seconds"] for run in runs if run["input"] == "parts"]
    if len(sizes) > 1:
        slope, start = np.polyfit(sizes, spent, 1)
        figures |= {
            "cpu_seconds_to_start": round(float(start), 1),
            "users_a_cpu_second": round(1 / float(slope)),
            "cpu_hours_for_ten_million": round(float(slope) * 1e7 / 3600, 1),
        }
    figures |= {"threads": os.environ.get("OMP_NUM_THREADS"), "load": os.getloadavg()[0], **origin()}
    figures.pop("keep")
    print(json.dumps(figures, indent=1))
    if asked.keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{asked.name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def write_histories(folder: Path, users: int, at_once: int, items: int, random: np.random.Generator) -> None:
    folder.mkdir()
    for number, start in enumerate(range(0, users, at_once)):
        names = np.arange(start, min(start + at_once, users))
        lengths = np.minimum(random.geometric(1 / MEAN_LENGTH, len(names)), LONGEST)
        bought = popular(items, int(lengths.sum()), random) - 1
        rows = pl.DataFrame({"user": np.repeat(names, lengths), "item": bought})
        rows.select(
            pl.format("u{}", "user").alias("user_id"), pl.format("i{}", "item").alias("history")
        ).group_by("user_id", maintain_order=True).agg("history").write_parquet(
            folder / f"part-{number:05}.parquet"
        )


def one_file(source: Path) -> Path:
    path = source.with_suffix(".parquet")
    parts = sorted(source.iterdir())
    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))
    return path


def start(folder: Path, source: Path, out: str, k: int) -> subprocess.Popen[bytes]:
    words = ["recommend", "bundle", "--input", source.name, "--output", out, "--k", str(k)]
    return subprocess.Popen([sys.executable, "-m", "h2rec", "--quiet", *words], cwd=folder)


def timed(folder: Path, source: Path, out: str, k: int) -> dict[str, Any]:
    """Seconds, memory and users a second of the command, start included."""
    began = time.perf_counter()
    process = start(folder, source, out, k)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0
    seconds, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def killed(folder: Path, source: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Kill the command in the middle and run it again: parts that were kept, and whether all are as unbroken."""
    whole, out = folder / f"lists-{asked.users[0]}", folder / "killed"
    process = start(folder, source, out.name, asked.k)
    while not list(out.glob("*.parquet")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert start(folder, source, out.name, asked.k).wait() == 0
    parts = sorted(path.name for path in whole.iterdir())
    return {
        "parts": len(parts),
        "kept": sum((out / name).stat().st_mtime_ns == at for name, at in kept.items()),
        "same_as_unbroken": all(pq.read_table(whole / n).equals(pq.read_table(out / n)) for n in parts),
        "left_behind": sorted(path.name for path in out.iterdir() if path.name not in parts),
    }


if __name__ == "__main__":
    main()
