"""Write the cold-start tables of the pages from the results files that `keep` left.

Run:  python -m benchmarks.cold_start.table [--check]
"""

from pathlib import Path
from typing import Any

from benchmarks.pages import markdown, of_table, placed, update

from h2rec.files import read_json
from h2rec.research.cold_start.experiment import SCOPES
from h2rec.research.suite.tables import comparison

RESULTS = Path(__file__).parent / "results"
TEXT = """## Items that training never saw

A share of the items is withheld from training wholly; the cases are the users whose last item was withheld, each with
the known items before it. Every way of scoring such an item ranks the same cases, among all items and among the
withheld ones alone.
"""
NEAR = "of their neighbours in text"
PLACED = "H2Rec"
DECODED = {
    "Decoded": ("generative", "H2Rec, codes alone for all items", "by their codes alone"),
    "SASRec": ("generative", "SASRec", f"with hash IDs {NEAR}"),
    "Decoded + hash IDs": ("generative", PLACED, f"by their codes, with hash IDs {NEAR}"),
    "H2Rec": ("h2rec-64", PLACED, f"with hash IDs and counts {NEAR}"),
    "H2Rec + decoded": ("h2rec-decoded", PLACED, f"by their codes, with hash IDs and counts {NEAR}"),
}
"""Rows of the page on decoding: file, how it is called there, and how new items are placed."""


def cold_start() -> str:
    """All kept data sets."""
    paths = [
        path for path in sorted(RESULTS.glob("*.json")) if path.stem not in {of[0] for of in DECODED.values()}
    ]
    return "".join([TEXT, *(section(path.stem, read_json(path)) for path in paths)]) if paths else ""


def decoded() -> str:
    """New items of models that decode, among all items."""
    rows, told = [], []
    for name, (file, model, way) in DECODED.items():
        results = read_json(RESULTS / f"{file}.json")
        means = {
            record["metric"]: f"{record['mean']:.4f}"
            for record in results["records"]
            if (record["protocol"], record["model"]) == (SCOPES["all"], model)
        }
        rows.append([name, way, *means.values()])
        origin = results["provenance"]
        told.append(f"`{origin['command']}`, commit {origin['commit']}")
    table = markdown(["row", "new items", *means], rows, text_columns=2)
    withheld = results["withheld_items"]
    return (
        f"{table}\n{withheld} of {withheld + results['known_items']:,} items withheld, {results['cases']} cases, "
        "ranked among all items.\n" + "\n".join(f"{line}." for line in dict.fromkeys(told)) + "\n"
    )


def section(data: str, results: dict[str, Any]) -> str:
    """One data set: ranked among all items, then among cold ones, and where it comes from."""
    lines = [
        f"\n### Cold start: {data}, {title}\n\n{of_table(comparison(results, 'cold start', title), placed)}"
        for title in SCOPES.values()
    ]
    levels = ", ".join(f"{n} share {level}" for level, n in enumerate(results["shared_levels"]) if n)
    origin = results["provenance"]
    machine = origin["machine"]
    lines.append(
        f"\n{results['withheld_items']} items withheld, {results['known_items']} known, {results['cases']} cases; "
        f"leading codes in common with a known item: {levels}. All against {results['tested']}. "
        f"`{origin['command']}`, commit {origin['commit']}, seeds {', '.join(map(str, origin['seeds']))}, "
        f"torch {machine['torch']}.\n"
    )
    return "".join(lines)


if __name__ == "__main__":
    update({"results_tables.md": {"cold start": cold_start}, "generative.md": {"cold": decoded}})
