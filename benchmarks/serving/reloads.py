"""Memory of a server that is reloaded again and again, and that items are added to.

python benchmarks/serving/made_bundle.py made
python benchmarks/serving/reloads.py made
python benchmarks/serving/reloads.py runs/shop/bundle --additions 50    # needs a bundle with a text encoder
"""

import argparse
import atexit
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from load import Server
from provenance import write_results

STEPS = 15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--reloads", type=int, default=300)
    parser.add_argument("--additions", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(shutil.copytree(arguments.bundle, Path(scratch) / "bundle"))
        items = pl.read_parquet(bundle / "items.parquet")
        question = json.dumps({"history": items["item_id"].head(3).to_list()})
        server = Server(bundle)
        atexit.register(server.process.kill)
        first = server.post("/recommend", question)
        reloads = [(0, server.memory_mb())]
        for number in range(1, arguments.reloads + 1):
            server.post("/reload", "{}")
            if number % max(1, arguments.reloads // STEPS) == 0:
                reloads.append((number, server.memory_mb()))
                print(f"{number} reloads: {reloads[-1][1]} MB", flush=True)
        same = server.post("/recommend", question) == first
        additions = [(0, server.memory_mb())]
        field = next(name for name in items.columns if name not in ("item_id", "train_count", "head"))
        for number in range(1, arguments.additions + 1):
            new = {"item_id": f"added {number}", "fields": {field: items[field][number % items.height]}}
            server.post("/items", json.dumps({"items": [new]}))
            if number % max(1, arguments.additions // STEPS) == 0:
                additions.append((number, server.memory_mb()))
                print(f"{number} additions: {additions[-1][1]} MB", flush=True)
        write_results(
            "reloads",
            None,
            {
                "items": items.height,
                "same_answer_after_reloads": same,
                "memory_mb_after_reloads": reloads,
                "mb_a_reload": slope(reloads),
                "memory_mb_after_additions": additions,
                "mb_an_addition": slope(additions),
            },
        )


def slope(measured: list[tuple[int, int]]) -> float | None:
    """Growth by one, from the line through the second half."""
    half = np.array(measured[len(measured) // 2 :], dtype=np.float64)
    return float(np.polyfit(half[:, 0], half[:, 1], 1)[0]) if len(half) > 1 else None


if __name__ == "__main__":
    main()
