"""Write docs/results_tables.md, and tables and pictures of docs/results.md and docs/generative.md, from results files.

Run:  python -m benchmarks.suites.table [--check]
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.pages import bold, markdown, placed, update
from benchmarks.suites.pictures import draw
from benchmarks.suites.sections import section

from h2rec.files import read_json
from h2rec.research.suite.results import read_results
from h2rec.research.suite.tables import COST_NAMES, column_of, figure, gain, number

RESULTS = Path(__file__).parent / "results"
DECODING = Path(__file__).parents[1] / "serving" / "results" / "decoding.json"
COLD_START = Path(__file__).parents[1] / "cold_start" / "results" / "scientific.json"
ORDER = (
    "main",
    "main_instruments",
    "generative",
    "tiger",
    "sizes",
    "parts",
    "text_noise",
    "ablation",
    "quantizers",
)
"""Suites that are read first."""
HEADLINE = ("main", "main_instruments")
"""Suites of the tables on the page of results."""
GENERATIVE = ("generative", "tiger")
"""That of the page of generative retrieval."""
COLUMNS = (
    ("overall", "hit@10"),
    ("overall", "ndcg@10"),
    ("overall", "ndcg@100"),
    ("overall", "hit@500"),
    ("head", "ndcg@10"),
    ("tail", "ndcg@10"),
)
"""What the absolute table shows of a data set."""


def suites() -> str:
    """All kept suites; the files of a suite, each of other data sets, together."""
    return "\n".join(section(list(members)) for _, members in groupby(kept_results(), itemgetter("suite")))


def kept_results() -> list[dict[str, Any]]:
    """All results files, suites that are read first in front."""
    all_results = [read_results(path) for path in sorted(RESULTS.glob("*.parquet"))]
    all_results.sort(
        key=lambda f: (ORDER.index(f["suite"]) if f["suite"] in ORDER else len(ORDER), f["suite"])
    )
    return all_results


def data_sets(suites: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Data sets of some suites, and the results that hold them."""
    found = [results for results in kept_results() if results["suite"] in suites]
    return [(data, results) for results in found for data in results["data"]]


def absolute(suites: Sequence[str]) -> str:
    """All rows on all data sets of some suites: a line a row and data set."""
    found = data_sets(suites)
    curves = [curve for _, results in found for curve in results["curves"]]
    selecting = sorted({curve["selected_by"] for curve in curves if curve.get("selected_value") is not None})
    selected = [f"on validation, {', '.join(selecting)}"] if selecting else []  # files of before have none
    lines = [
        [
            row,
            data,
            str(columns[0][row]["seeds"]),
            # A row that stands alone is the best of nothing.
            *(
                placed(cell) if len(costs) > 1 else cell.text
                for cell in (figure(of.get(row)) for of in columns)
            ),
            *(number(selected_of(results, data).get(row)) for _ in selected),
            *cost,
        ]
        for data, results in found
        for columns, costs in [(columns_of(results, data), costs_of(results, data))]
        for row, cost in costs.items()
    ]
    shown = (f"{part} {metric}" for part, metric in COLUMNS)
    heads = ["seeds", *shown, *selected, *COST_NAMES.values()]
    return markdown(["row", "data set", *heads], lines, text_columns=2)


def gains() -> str:
    """What the tested row gains over every other one, bold where both paired tests find it."""
    lines = [
        [row, data, *(bold(gain(column.get(row))) for column in columns)]
        for data, results in data_sets(HEADLINE)
        for columns in [columns_of(results, data)]
        for row in columns[0]
        if row != results["tested"]
    ]
    heads = ["over", "data set", *(f"{part} {metric}" for part, metric in COLUMNS)]
    return markdown(heads, lines, text_columns=2)


def columns_of(results: dict[str, Any], data: str) -> list[dict[str, Any]]:
    """Records of each of `COLUMNS` by row."""
    return [column_of(results, data, "full", *column) for column in COLUMNS]


def costs_of(results: dict[str, Any], data: str) -> dict[str, list[str]]:
    """What each row costs, as text."""
    return {
        cost["model"]: [
            number(cost[name], 1 if name == "cpu_milliseconds_per_user" else 0) for name in COST_NAMES
        ]
        for cost in results["costs"]
        if cost["data"] == data
    }


def selected_of(results: dict[str, Any], data: str) -> dict[str, float]:
    """The validation value of each row's choices, a mean over seeds."""
    found: dict[str, list[float]] = {}
    for curve in results["curves"]:
        if curve["data"] == data and curve.get("selected_value") is not None:
            found.setdefault(curve["model"], []).append(curve["selected_value"])
    return {row: sum(values) / len(values) for row, values in found.items()}


def sources(suites: Sequence[str]) -> str:
    """Where the figures of some suites come from."""
    found = [results for results in kept_results() if results["suite"] in suites]
    return "".join(f"- {', '.join(results['data'])}: {origin(results)}\n" for results in found)


def origin(results: dict[str, Any]) -> str:
    """Commits, seeds and dates of a results file."""
    found = results["provenance"]
    commits = ", ".join(dict.fromkeys(found["commits"]))
    return f"commits {commits}; {str(found['first'])[:10]} to {str(found['last'])[:10]}"


def decoding() -> str:
    """What a list costs by decoding and by looking up."""
    result = read_json(DECODING)
    cases = list(dict.fromkeys((m["items"], m["users_at_once"]) for m in result["measured"]))
    by_way: dict[str, dict[tuple[int, int], float]] = {}
    for m in result["measured"]:
        by_way.setdefault(m["way"], {})[m["items"], m["users_at_once"]] = m["cpu_ms_per_user"]
    heads = [f"{items:,} items, {users} at once" for items, users in cases]
    rows = [[way, *(f"{of[case]:.2f}" for case in cases)] for way, of in by_way.items()]
    commit = result["commit"][:12]
    return (
        markdown(["way", *heads], rows)
        + f"\nCPU milliseconds a user; `{result['command']}`, commit {commit}.\n"
    )


if __name__ == "__main__":
    update(
        {
            "results.md": {
                "absolute": partial(absolute, HEADLINE),
                "gains": gains,
                "sources": partial(sources, HEADLINE),
            },
            "generative.md": {
                "decoded": partial(absolute, GENERATIVE),
                "decoded sources": partial(sources, GENERATIVE),
                "decoding": decoding,
            },
            "results_tables.md": {"suites": suites},
        }
    )
    # Not where the pages are only checked: that ends above.
    draw(kept_results(), read_json(COLD_START) if COLD_START.exists() else None)
