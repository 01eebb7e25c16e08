"""Train what the presets name, on made data and on Scientific, and hold the figures to those that are kept.

Pinned are all figures of validation and test under the presets `h2rec`, `paper`, `sasrec_warm` and `hid_sid_add`: on
made data at tiny sizes, on Scientific as the presets stand. A change of the code that should change no figure leaves
every one of them within 1e-6. One thread, CPU, seed 0; another processor may round otherwise.

Run: python benchmarks/pins/run.py [--data tiny] [--preset h2rec] [--keep]

Without `--keep` it exits with 1 where a figure differs, and names the one that differs most.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from h2rec.files import read_json, write_text
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import provenance

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results" / "pins.json"
DATASETS = Path(os.environ.get("H2REC_DATASETS", ROOT.parent / "shared" / "datasets"))
PRESETS = ("h2rec", "paper", "sasrec_warm", "hid_sid_add")
SEED = 0
TOLERANCE = 1e-6
DATA: dict[str, dict[str, Any]] = {
    "tiny": {
        "data": {"source": "made-shop"},
        "text": {"encoder": "tfidf", "dim": 32},
        "semantic_ids": {"levels": 3, "codebook_size": 16},
        "model": {"dim": 16, "layers": 1, "max_length": 20},
        "train": {"epochs": 4, "learning_rate": 0.01, "schedule": "constant", "evaluate_every": 1},
    },
    "scientific": {
        "data": {
            "interactions": str(DATASETS / "scientific" / "scientific.inter"),
            "items": str(DATASETS / "scientific" / "scientific.item"),
        },
        "train": {"evaluate_users": None},
    },
}


def settings(data: str, preset: str) -> dict[str, Any]:
    """Values of the configuration of a pin."""
    values = {**DATA[data], "preset": preset, "runtime": {"threads": 1, "device": "cpu"}}
    return values | {"train": {**values["train"], "seed": SEED}}


def figures(data: str, preset: str, out: Path) -> dict[str, Any]:
    """Figures of a pin on validation and test; what is finished in `out` is not done again."""
    config = RunConfig.parse(settings(data, preset))
    metrics = Pipeline(config, out / data / preset, out / "stages").evaluated()
    return {split: metrics[split] for split in ("test", "valid")}


def flat(values: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings and lists by their path."""
    inner = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in inner:
        if isinstance(value, Mapping | list):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[float, str]]:
    """How far each figure that both should have is from what is kept, the largest first."""
    then, current = dict(flat(kept)), dict(flat(now))
    apart = {}
    for name in then.keys() | current.keys():
        one, other = then.get(name), current.get(name)
        if isinstance(one, int | float) and isinstance(other, int | float):
            apart[name] = abs(one - other)
        else:
            apart[name] = 0.0 if name in then and name in current and one == other else math.inf
    return sorted(((apart[name], name) for name in apart), reverse=True)


def rounded(value: Any) -> Any:
    """Figures to nine digits: a thousandth of what they may differ by."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 9) if isinstance(value, float) else value


def keep(record: Mapping[str, Any]) -> None:
    """Write what is kept, a pin a line."""
    RESULTS.parent.mkdir(exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(rounded(value))}" for name, value in record.items())
    write_text(RESULTS, f"{{\n{lines}\n}}\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", choices=list(DATA))
    parser.add_argument("--preset", action="append", choices=PRESETS)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "pins")
    parser.add_argument("--keep", action="store_true", help="Write the figures instead of comparing them.")
    options = parser.parse_args()
    if options.keep and (options.data or options.preset):
        parser.error("--keep writes all figures, of one state of the code")
    kept = {"provenance": provenance(SEED)} if options.keep else read_json(RESULTS)
    worst: list[tuple[float, str]] = []
    for data in options.data or DATA:
        for preset in options.preset or PRESETS:
            name = f"{data}/{preset}"
            if not options.keep and name not in kept:
                sys.exit(f"{name}: nothing is kept")
            now = figures(data, preset, options.out)
            if options.keep:
                kept[name] = now
                continue
            apart, figure = differences(kept[name], now)[0]
            worst.append((apart, f"{name}, {figure}"))
            print(f"{name}: at most {apart:.2g} ({figure})", flush=True)
    if options.keep:
        keep(kept)
        return
    apart, figure = max(worst)
    print(f"largest difference: {apart:.2g}, {figure}")
    sys.exit(apart > TOLERANCE)


if __name__ == "__main__":
    main()
