"""Damage each file of a finished run, one at a time, and run the same command again.

A tiny run (made data, one thread) is finished once. For every file that it left a copy of the run has one byte of
that file flipped (the middle one, or with `--flips` more, at random places); the run is carried out again on the copy.
It must leave the same ranks, figures, codes and bundle, or end with an error that says what to do.

Run: python benchmarks/robustness/damaged_stages.py [--flips 1] [--seed 0]
"""

import argparse
import collections
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from h2rec.claims import files_in
from h2rec.errors import H2RecError
from h2rec.files import file_hash, read_json, write_json
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance

RESULTS = Path(__file__).parent / "results"
UNTOLD = ("manifest.json", "report.html", "config.yaml", "run.log", "audit.html", "metrics.json")
"""Files that tell times and dates, or are made of others."""


def shop(folder: Path) -> Path:
    stream = np.random.default_rng(0)
    themes = ("tea green leaf", "chess wooden board", "garden rose soil", "bike chain wheel")
    rows = ["item_id,title", *(f"i{item},{themes[item % 4]} number {item}" for item in range(60))]
    (folder / "items.csv").write_text("\n".join(rows))
    rows = ["user_id,item_id,timestamp"]
    for user in range(80):
        start = stream.integers(60)
        rows += [f"u{user},i{(start + 4 * step) % 60},{step}" for step in range(6)]
    (folder / "interactions.csv").write_text("\n".join(rows))
    values = {
        "data": {"interactions": "interactions.csv", "items": "items.csv"},
        "text": {"encoder": "tfidf", "dim": 16},
        "semantic_ids": {"quantizer": "rqkmeans", "levels": 2, "codebook_size": 8},
        "model": {"dim": 16, "layers": 1},
        "train": {"epochs": 2, "evaluate_every": 1},
        "evaluate": {"protocols": ["full"], "ks": [1, 10]},
        "runtime": {"threads": 1, "device": "cpu"},
    }
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def carried_out(config: Path, out: Path) -> None:
    pipeline = Pipeline(RunConfig.load(config), out)
    pipeline.evaluated()
    pipeline.bundled()


def outcome(out: Path) -> dict[str, Any]:
    """What a run found: hashes of what it published, and the figures without times."""
    names = [name for name in files_in(out) if not name.startswith(("stages/", "checkpoints/", "."))]
    hashes = {name: file_hash(out / name) for name in names if Path(name).name not in UNTOLD}
    metrics = read_json(out / "metrics.json")
    return {"files": hashes, **{name: metrics[name] for name in ("test", "valid", "blend", "training")}}


def without_seconds(record: dict[str, Any]) -> dict[str, Any]:
    log = [
        {k: v for k, v in r.items() if not k.endswith("seconds")} for r in record["training"].get("log", [])
    ]
    return {**record, "training": {**record["training"], "log": log}}


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x01
    path.write_bytes(content)


def tried(config: Path, finished: Path, name: str, place: float, folder: Path) -> dict[str, Any]:
    out = folder / "copy"
    shutil.copytree(finished, out)
    size = (out / name).stat().st_size
    at = min(size - 1, int(place * size))
    flip(out / name, at)
    warned: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("h2rec").addHandler(handler)
    try:
        carried_out(config, out)
        same = without_seconds(outcome(out)) == without_seconds(outcome(finished))
        result, said = "same" if same else "OTHER OUTPUT", "; ".join(warned)
    except H2RecError as error:
        result, said = "error", str(error)
    except Exception as error:
        result, said = "CRASH", repr(error)
    finally:
        logging.getLogger("h2rec").removeHandler(handler)
        # Another name each time: what a process has checked it does not check again.
        shutil.rmtree(out)
    return {"file": name, "byte": at, "of": size, "result": result, "said": said.replace(str(folder), "")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flips", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "damaged_stages.json")
    options = parser.parse_args()
    stream = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config, finished = shop(folder), folder / "finished"
        carried_out(config, finished)
        failures = []
        names = [name for name in sorted(files_in(finished)) if (finished / name).stat().st_size]
        for number, name in enumerate(names):
            for place in [0.5, *(stream.random() for _ in range(options.flips - 1))]:
                at = folder / f"{number}-{len(failures)}"
                at.mkdir()
                failures.append(tried(config, finished, name, place, at))
                print(failures[-1]["result"], name, failures[-1]["said"][:160], flush=True)
    counts = collections.Counter(one["result"] for one in failures)
    print(dict(counts))
    write_json(options.out, {"provenance": provenance(options.seed), "counts": counts, "flips": failures})
    if counts["OTHER OUTPUT"] or counts["CRASH"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
