"""Keep what `h2rec cold-start` found, by its configuration: its `cold_start.json` without paths of the machine.

Run:  python -m benchmarks.cold_start.keep runs/cold-start-scientific [runs/cold-start-beauty ..]
      python -m benchmarks.cold_start.table
"""

import re
from pathlib import Path

from benchmarks.keeping import asked_folders, without_paths

from h2rec.files import read_json, write_json

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    for folder in asked_folders(__doc__):
        results = read_json(folder / "cold_start.json")
        results["provenance"]["command"] = without_paths(results["provenance"]["command"])
        (config,) = re.findall(r"([^/ ]+)\.ya?ml", results["provenance"]["command"])
        write_json(RESULTS / f"{config}.json", results)


if __name__ == "__main__":
    main()
