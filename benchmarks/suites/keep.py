"""Keep a suite's results: its `results.parquet` without what only the report needs, and without paths of the machine.

A file for the data sets of one run, so that another data set can be added later without running the first one again.

Run:  python -m benchmarks.suites.keep runs/main [runs/ablation ..]
      python -m benchmarks.suites.table
"""

from pathlib import Path
from typing import Any

from benchmarks.keeping import asked_folders, without_paths

from h2rec.research.suite.results import RESULTS_FILE, read_results, write_results

RESULTS = Path(__file__).parent / "results"


def kept(results: dict[str, Any]) -> dict[str, Any]:
    """What is worth a place in the repository."""
    curves = [
        {name: value for name, value in c.items() if name not in ("loss", "valid")} for c in results["curves"]
    ]
    origin = results["provenance"] | {
        "commands": [without_paths(c) for c in results["provenance"]["commands"]]
    }
    return results | {"curves": curves, "provenance": origin}


def refuse_twice(results: dict[str, Any]) -> None:
    """Stop where another file holds one of the data sets already: the page would show it twice."""
    for path in RESULTS.glob("*.parquet"):
        known = read_results(path)
        both = known["data"].keys() & results["data"].keys()
        if known["suite"] == results["suite"] and both and known["data"].keys() != results["data"].keys():
            raise SystemExit(
                f"{path.name} holds {', '.join(sorted(both))} of this suite already: remove it first"
            )


def main() -> None:
    for folder in asked_folders(__doc__):
        results = read_results(folder / RESULTS_FILE)
        RESULTS.mkdir(exist_ok=True)
        refuse_twice(results)
        path = RESULTS / f"{'-'.join([results['suite'], *results['data']])}.parquet"
        write_results(path, kept(results))
        print(path)


if __name__ == "__main__":
    main()
