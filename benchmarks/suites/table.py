"""Write docs/results_tables.md, and the gains told in docs/results.md, from the results files that `keep` left.

Run:  python -m benchmarks.suites.table [--check]
"""

from collections.abc import Sequence
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.pages import bold, markdown, update
from benchmarks.suites.sections import KINDS_OF_NOISE, by_row, section

from h2rec.files import read_json
from h2rec.research.suite.results import read_results
from h2rec.research.suite.tables import column_of, contrast_rows, gain, number
from h2rec.run.tables import SLICES

RESULTS = Path(__file__).parent / "results"
TRIALS = Path(__file__).parent / "tuning"
ORDER = (
    "main",
    "seesaw",
    "backbones",
    "ablation_hybrid",
    "ablation",
    "popularity",
    "quantizers",
    "sweep_codes",
    "sweep_beta",
    "sweep_gamma",
    "sweep_p",
    "sweep_w",
    "text_noise",
    "text_noise_drop",
    "text_noise_replace",
)

DATA = {
    "beauty": (
        "Amazon Reviews 2014, Beauty, 5-core",
        "keywords made of title and description (IDGenRec, GRAM)",
    ),
    "scientific": (
        "Amazon Reviews 2018, Industrial and Scientific, 5-core (UniSRec, CoWPiRec)",
        "title, categories, brand; histories end at 51 items",
    ),
    "yelp": ("Yelp Open Dataset, 5-core of 2019 (S3-Rec, LETTER)", "name, categories"),
    "instruments": (
        "Amazon Reviews 2018, Musical Instruments, 5-core (LETTER)",
        "none; published codes, 256 a level",
    ),
}
"""Origin of the data sets, with the papers whose preparation it is, and what is known of an item."""

HEADLINE = "main"
"""Suite whose tested row is compared with every other model on the page of findings."""
GAINS = (
    ("full", "ndcg@100"),
    ("full", "ndcg@10"),
    ("full", "hit@10"),
    ("full", "hit@100"),
    ("full", "hit@500"),
    ("sampled100", "ndcg@10"),
)
"""Protocols and metrics of that comparison: what selects, from the top to the depth, and the paper's."""
STEPS = "paper_form"
"""Suite that leads from the paper's form to the default, a step a row."""
STEP_COLUMNS = (
    ("full", "overall", "ndcg@10"),
    ("full", "overall", "ndcg@100"),
    ("full", "head", "ndcg@100"),
    ("full", "tail", "ndcg@100"),
    ("full", "overall", "hit@500"),
    ("sampled100", "overall", "ndcg@10"),
)
"""By what the page of findings shows these steps."""
GROUPED = ("SASRec, warm", "Two HID branches", "HID + SID, added", "LLM-ESR")
"""Rows over which gains are told by popularity group."""
OPERATOR_ROWS = (
    "SASRec, cold",
    "SASRec, warm",
    "LLM-ESR",
    "PG-SID",
    "HID + SID, added",
    "Two HID branches",
    "H2Rec",
    "H2Rec, evened",
)
"""Rows that an operator's questions are answered for on the page of findings."""


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


def data_sets() -> str:
    """Sizes and origin of the data sets of the main table."""
    rows = []
    for results in kept_results():
        if results["suite"] == HEADLINE:
            for name, sizes in results["data"].items():
                origin, text = DATA[name]
                counts = (f"{sizes[of]:,}" for of in ("users", "items", "interactions"))
                rows.append([name, origin, text, *counts, f"{results['cost']['cpu_hours']:.1f}"])
    heads = [
        "data set",
        "origin",
        "known of an item",
        "users",
        "items",
        "interactions",
        "main table, CPU hours",
    ]
    return markdown(heads, rows, text_columns=3)


def searches() -> str:
    """How many trainings the searches of each data set had, as `keep_tuning` left them."""
    rows = []
    for path in sorted(TRIALS.glob("*.json")):
        searches_ = read_json(path).values()
        trials = [trial for row in searches_ for trial in row["trials"]]
        each = dict.fromkeys(str(len(row["trials"])) for row in searches_)
        stopped = sum(trial["stopped_after"] is not None for trial in trials)
        hours = f"{sum(trial['seconds'] or 0 for trial in trials) / 3600:.1f}"
        rows.append([path.stem, str(len(searches_)), ", ".join(each), f"{stopped} of {len(trials)}", hours])
    return markdown(
        ["data set", "rows searched", "trainings a row", "stopped early", "hours of a core"], rows
    )


def group_gains() -> str:
    """What the tested row gains over others in NDCG@10 in each popularity group, a line a row and data set."""
    heads: list[str] = []
    lines: dict[str, list[list[str]]] = {row: [] for row in GROUPED}
    for results in kept_results():
        if results["suite"] != "popularity":
            continue
        records = {
            (g["data"], g["model"], g["name"]): g["ndcg@10"]
            for g in results["groups"]
            if (g["kind"], g["protocol"]) == ("popularity", "full")
        }
        names = list(dict.fromkeys(name for _, _, name in records))
        heads = [str(number) for number in range(1, len(names) + 1)]
        for row, data in product(GROUPED, results["data"]):
            pairs = [(records[data, results["tested"], name], records[data, row, name]) for name in names]
            lines[row].append([row, data, *(f"{ours / theirs - 1:+.0%}" for ours, theirs in pairs)])
    rows = [cells for row_cells in lines.values() for cells in row_cells]
    return markdown(["over", "data set", *heads], rows, text_columns=2)


def operator_questions() -> str:
    """What the main table's rows show, what the most sold items and items that share their codes get."""
    rows = []
    for results in kept_results():
        if results["suite"] != HEADLINE:
            continue
        shown = {row["model"]: row for row in results["exposure"]}
        head = {row["model"]: row for row in results["weighted_head"] if row["protocol"] == "full"}
        sides = {
            (g["model"], g["name"]): g
            for g in results["groups"]
            if (g["kind"], g["protocol"]) == ("code_collision", "full")
        }
        for name in (row for row in OPERATOR_ROWS if row in shown):
            figures = [
                *(shown[name][figure] for figure in ("tail_share@10", "coverage@10", "gini@10")),
                *(head[name][figure] for figure in ("ndcg@10", "hit@500")),
                *(sides[name, side]["ndcg@10"] for side in ("alone", "shared")),
            ]
            rows.append([name, *results["data"], *map(number, figures)])
    heads = ["tail's places", "items shown", "Gini of places", "most sold, ndcg@10", "most sold, hit@500"]
    return markdown(["row", "data set", *heads, "codes alone", "codes shared"], rows, text_columns=2)


def steps() -> str:
    """The rows between the paper's form and the default, in the suite's order."""
    tables = []
    for results in kept_results():
        if results["suite"] == STEPS:
            for data in results["data"]:
                columns = {
                    f"{part} {metric}, {protocol}": column_of(results, data, protocol, part, metric)
                    for protocol, part, metric in STEP_COLUMNS
                }
                tables.append(f"### {data}\n\n{by_row(columns, results['rows'])}")
    return "\n".join(tables)


def noise() -> str:
    """How NDCG@100 of the full ranking changes as texts are disturbed, against the same model on whole texts."""
    kept = [results for results in kept_results() if results["suite"] in KINDS_OF_NOISE]
    first, *shares = sorted({row["value"] for results in kept for row in results["rows"].values()}) or [0]
    lines: dict[tuple[str, str], list[list[str]]] = {}
    for results in kept:
        row_names = {(row["model"], row["value"]): name for name, row in results["rows"].items()}
        for data in results["data"]:
            pairs = contrast_rows(results, data, "full")
            for model, part in product(dict.fromkeys(model for model, _ in row_names), ("overall", "tail")):
                clean = row_names[model, first]
                cells = (
                    pairs.get((row_names.get((model, share)), clean), {}).get((part, "ndcg@100"))
                    for share in shares
                )
                line = [
                    model,
                    part,
                    data,
                    KINDS_OF_NOISE[results["suite"]],
                    *(bold(gain(cell)) for cell in cells),
                ]
                lines.setdefault((model, part), []).append(line)
    rows = [cells for model_cells in lines.values() for cells in model_cells]
    heads = [f"{share:.0%}" for share in shares]
    return markdown(["model", "items", "data set", "texts", *heads], rows, text_columns=4)


def gains() -> str:
    """What the tested row of the main table gains over every row that is not one of its own forms."""
    all_results = [results for results in kept_results() if results["suite"] == HEADLINE]
    return "\n".join(
        gains_over_others(all_results, protocol, metric) for protocol, metric in GAINS if all_results
    )


def gains_over_others(all_results: Sequence[dict[str, Any]], protocol: str, metric: str) -> str:
    """Gains of the tested row in one metric, a row for each other model; its own forms are those that bear its name."""
    tested = all_results[0]["tested"]
    columns = {
        f"{data} {part}": {
            name: r
            for name, r in column_of(results, data, protocol, part, metric).items()
            if not name.startswith(tested)
        }
        for results, part in product(all_results, SLICES)
        for data in results["data"]
    }
    names = dict.fromkeys(
        name for column in sorted(columns.values(), key=len, reverse=True) for name in column
    )
    best = [max(column.values(), key=itemgetter("mean")) for column in columns.values()]
    rows = [[name, *(bold(gain(column.get(name))) for column in columns.values())] for name in names]
    rows.append(["**the best of these**", *(bold(gain(record)) for record in best)])
    title = f"### {metric}, {protocol}\n\n"
    return title + markdown(["over", *columns], rows)


if __name__ == "__main__":
    update(
        {
            "results.md": {
                "data": data_sets,
                "gains": gains,
                "searches": searches,
                "groups": group_gains,
                "operator": operator_questions,
                "steps": steps,
                "noise": noise,
            },
            "results_tables.md": {"suites": suites},
        }
    )
