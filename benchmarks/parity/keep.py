"""Keep comparisons with the peers: their `parity.json` without paths of the machine, by data set, models and seed.

Run:  python -m benchmarks.parity.keep runs/parity/scientific [runs/parity/beauty ..]
      python -m benchmarks.parity.table
"""

from pathlib import Path
from typing import Any

from benchmarks.keeping import asked_folders, without_paths

from h2rec.files import read_json, write_json

RESULTS = Path(__file__).parent / "results"


def title_of(record: dict[str, Any]) -> list[str]:
    """What tells a comparison from others: its data, its models unless it has all, its seed unless it is 0."""
    seed = record["settings"]["seed"]
    return [Path(record["data"]).stem, *record.get("models", []), *([f"seed {seed}"] if seed else [])]


def main() -> None:
    for folder in asked_folders(__doc__):
        record = read_json(folder / "parity.json")
        record["provenance"]["command"] = without_paths(record["provenance"]["command"])
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / f"{'-'.join(title_of(record))}.json".replace(" ", "-"), record)


if __name__ == "__main__":
    main()
