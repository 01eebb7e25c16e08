"""Seconds and memory of preparing made-up interactions, from a million to a hundred million rows.

Each size is made on the fly as a folder of Parquet shards of a million rows: a tenth as many users as rows, a
hundredth as many items, the i-th of them drawn in proportion to 1 / i, ids as texts, times in seconds, in the order of
time, one row in fifty twice. Preparing and saving it is a process of its own, of which the results tell seconds, CPU
seconds and the largest resident memory. Writes `results/prepare_scale.json`.

Run: python benchmarks/data/prepare_scale.py --millions 1 3 10 30 100
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from h2rec.files import read_json, write_json
from h2rec.run.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "prepare_scale.json"
MILLION, SEED = 1_000_000, 2026
WORK = """
import sys
from pathlib import Path
from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
prepare(DataSettings(interactions=Path(sys.argv[1]))).save(Path(sys.argv[2]))
"""


def make_shards(folder: Path, millions: int) -> None:
    """Write so many million rows, a million a shard."""
    users, items = millions * MILLION // 10, millions * MILLION // 100
    for shard in range(millions):
        stream = np.random.default_rng([SEED, millions, shard])
        drawn = (items ** stream.random(MILLION)).astype(np.int64)
        times = 1_500_000_000 + shard * 1_000_000 + np.sort(stream.integers(0, 1_000_000, MILLION))
        user = stream.integers(0, users, MILLION)
        again = np.arange(0, MILLION, 50)
        for column in (drawn, times, user):
            column[again[1:]] = column[again[1:] - 1]
        frame = pl.DataFrame({"user": user, "item": drawn, "timestamp": times})
        frame.with_columns(
            pl.format("u{}", "user").alias("user_id"), pl.format("B0{}", "item").alias("item_id")
        ).select("user_id", "item_id", "timestamp").write_parquet(folder / f"part-{shard:05}.parquet")


def prepared(source: Path, target: Path) -> dict[str, float]:
    """Prepare in a process of its own and tell what it took."""
    target.mkdir()
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", WORK, str(source), str(target)])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"preparing {source} ended with {child.returncode}")
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_resident_mib": usage.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 3, 10, 30, 100])
    parser.add_argument(
        "--in", dest="place", type=Path, help="Where there is room: some 60 MB a million rows."
    )
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = read_json(RESULTS)["rows"] if RESULTS.exists() else []
    for millions in asked.millions:
        with tempfile.TemporaryDirectory(dir=asked.place) as place:
            source = Path(place) / "events"
            source.mkdir()
            make_shards(source, millions)
            took = prepared(source, Path(place) / "prepared")
        row = {"millions": millions, **took, "cpu_seconds_per_million": took["cpu_seconds"] / millions}
        row["seconds_per_million"] = took["seconds"] / millions
        print(row, flush=True)
        rows = sorted(
            [row, *(old for old in rows if old["millions"] != millions)], key=lambda one: one["millions"]
        )
        write_json(RESULTS, {"provenance": provenance(SEED), "rows": rows})


if __name__ == "__main__":
    main()
