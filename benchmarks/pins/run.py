"""Train what some presets name, on made data, and hold the figures to those that are kept.

Pinned are all figures of validation and test at tiny sizes. A change of the code that should change no figure leaves
every one of them within 1e-6. One thread, CPU, seed 0; another processor may round otherwise. Where a default is
changed on purpose, they are kept anew, and the changelog tells why.

Run: python benchmarks/pins/run.py [--preset h2rec] [--keep]

Without `--keep` it exits with 1 where a figure differs, and names the one that differs most.
"""

import argparse
import json
import math
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
PRESETS = ("h2rec", "h2rec_two_branches", "paper", "sasrec_warm", "bsarec", "hid_sid_add")
SEED = 0
TOLERANCE = 1e-6
VALUES: dict[str, Any] = {
    "data": {"source": "made-shop"},
    "text": {"encoder": "tfidf", "dim": 32},
    "semantic_ids": {"levels": 3, "codebook_size": 16},
    "model": {"dim": 16, "layers": 1, "max_length": 20},
    "train": {"epochs": 4, "learning_rate": 0.01, "schedule": "constant", "evaluate_every": 1, "seed": SEED},
    "runtime": {"threads": 1, "device": "cpu"},
}


def figures(preset: str, out: Path) -> dict[str, Any]:
    """Figures of a pin on validation and test; what is finished in `out` is not done again."""
    config = RunConfig.parse(VALUES | {"preset": preset})
    metrics = Pipeline(config, out / preset, out / "stages").evaluated()
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
    parser.add_argument("--preset", action="append", choices=PRESETS)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "pins")
    parser.add_argument("--keep", action="store_true", help="Write the figures instead of comparing them.")
    options = parser.parse_args()
    if options.keep and options.preset:
        parser.error("--keep writes all figures, of one state of the code")
    kept = {"provenance": provenance(SEED)} if options.keep else read_json(RESULTS)
    worst: list[tuple[float, str]] = []
    for preset in options.preset or PRESETS:
        if not options.keep and preset not in kept:
            sys.exit(f"{preset}: nothing is kept")
        now = figures(preset, options.out)
        if options.keep:
            kept[preset] = now
            continue
        apart, figure = differences(kept[preset], now)[0]
        worst.append((apart, f"{preset}, {figure}"))
        print(f"{preset}: at most {apart:.2g} ({figure})", flush=True)
    if options.keep:
        keep(kept)
        return
    apart, figure = max(worst)
    print(f"largest difference: {apart:.2g}, {figure}")
    sys.exit(apart > TOLERANCE)


if __name__ == "__main__":
    main()
