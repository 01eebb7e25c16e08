"""Keep comparisons with the peers: their `parity.json` without paths of the machine, by data set and seed.

Run:  python -m benchmarks.parity.keep runs/parity/scientific [runs/parity/beauty ..]
      python -m benchmarks.parity.table
"""

from pathlib import Path

from benchmarks.keeping import asked_folders, without_paths

from h2rec.files import read_json, write_json

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    for folder in asked_folders(__doc__):
        found = read_json(folder / "parity.json")
        found["provenance"]["command"] = without_paths(found["provenance"]["command"])
        RESULTS.mkdir(exist_ok=True)
        seed = found["settings"]["seed"]
        name = Path(found["data"]).stem + (f"-seed-{seed}" if seed else "")
        write_json(RESULTS / f"{name}.json", found)


if __name__ == "__main__":
    main()
