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
    return "\n".join(section(list(of_suite)) for _, of_suite in groupby(kept_results(), itemgetter("suite")))


def kept_results() -> list[dict[str, Any]]:
    """All results files, suites that are read first in front."""
    found = [read_results(path) for path in sorted(RESULTS.glob("*.parquet"))]
    found.sort(key=lambda f: (ORDER.index(f["suite"]) if f["suite"] in ORDER else len(ORDER), f["suite"]))
    return found


def data_sets() -> str:
    """Sizes and origin of the data sets of the main table."""
    rows = []
    for found in kept_results():
        if found["suite"] == HEADLINE:
            for name, sizes in found["data"].items():
                origin, text = DATA[name]
                counts = (f"{sizes[of]:,}" for of in ("users", "items", "interactions"))
                rows.append([name, origin, text, *counts, f"{found['cost']['cpu_hours']:.1f}"])
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
        found = read_json(path).values()
        trials = [trial for row in found for trial in row["trials"]]
        each = dict.fromkeys(str(len(row["trials"])) for row in found)
        stopped = sum(trial["stopped_after"] is not None for trial in trials)
        hours = f"{sum(trial['seconds'] or 0 for trial in trials) / 3600:.1f}"
        rows.append([path.stem, str(len(found)), ", ".join(each), f"{stopped} of {len(trials)}", hours])
    return markdown(
        ["data set", "rows searched", "trainings a row", "stopped early", "hours of a core"], rows
    )


def group_gains() -> str:
    """What the tested row gains over others in NDCG@10 in each popularity group, a line a row and data set."""
    heads: list[str] = []
    lines: dict[str, list[list[str]]] = {row: [] for row in GROUPED}
    for found in kept_results():
        if found["suite"] != "popularity":
            continue
        of_group = {
            (g["data"], g["model"], g["name"]): g["ndcg@10"]
            for g in found["groups"]
            if (g["kind"], g["protocol"]) == ("popularity", "full")
        }
        names = list(dict.fromkeys(name for _, _, name in of_group))
        heads = [str(number) for number in range(1, len(names) + 1)]
        for row, data in product(GROUPED, found["data"]):
            pairs = [(of_group[data, found["tested"], name], of_group[data, row, name]) for name in names]
            lines[row].append([row, data, *(f"{ours / theirs - 1:+.0%}" for ours, theirs in pairs)])
    rows = [cells for of_row in lines.values() for cells in of_row]
    return markdown(["over", "data set", *heads], rows, text_columns=2)


def operator_questions() -> str:
    """What the main table's rows show, what the most sold items and items that share their codes get."""
    rows = []
    for found in kept_results():
        if found["suite"] != HEADLINE:
            continue
        shown = {row["model"]: row for row in found["exposure"]}
        head = {row["model"]: row for row in found["weighted_head"] if row["protocol"] == "full"}
        sides = {
            (g["model"], g["name"]): g
            for g in found["groups"]
            if (g["kind"], g["protocol"]) == ("code_collision", "full")
        }
        for name in (row for row in OPERATOR_ROWS if row in shown):
            figures = [
                *(shown[name][figure] for figure in ("tail_share@10", "coverage@10", "gini@10")),
                *(head[name][figure] for figure in ("ndcg@10", "hit@500")),
                *(sides[name, side]["ndcg@10"] for side in ("alone", "shared")),
            ]
            rows.append([name, *found["data"], *map(number, figures)])
    heads = ["tail's places", "items shown", "Gini of places", "most sold, ndcg@10", "most sold, hit@500"]
    return markdown(["row", "data set", *heads, "codes alone", "codes shared"], rows, text_columns=2)


def steps() -> str:
    """The rows between the paper's form and the default, in the suite's order."""
    tables = []
    for found in kept_results():
        if found["suite"] == STEPS:
            for data in found["data"]:
                columns = {
                    f"{part} {metric}, {protocol}": column_of(found, data, protocol, part, metric)
                    for protocol, part, metric in STEP_COLUMNS
                }
                tables.append(f"### {data}\n\n{by_row(columns, found['rows'])}")
    return "\n".join(tables)


def noise() -> str:
    """How NDCG@100 of the full ranking changes as texts are disturbed, against the same model on whole texts."""
    kept = [found for found in kept_results() if found["suite"] in KINDS_OF_NOISE]
    first, *shares = sorted({row["value"] for found in kept for row in found["rows"].values()}) or [0]
    lines: dict[tuple[str, str], list[list[str]]] = {}
    for found in kept:
        of_row = {(row["model"], row["value"]): name for name, row in found["rows"].items()}
        for data in found["data"]:
            pairs = contrast_rows(found, data, "full")
            for model, part in product(dict.fromkeys(model for model, _ in of_row), ("overall", "tail")):
                whole = of_row[model, first]
                cells = (
                    pairs.get((of_row.get((model, share)), whole), {}).get((part, "ndcg@100"))
                    for share in shares
                )
                line = [
                    model,
                    part,
                    data,
                    KINDS_OF_NOISE[found["suite"]],
                    *(bold(gain(cell)) for cell in cells),
                ]
                lines.setdefault((model, part), []).append(line)
    rows = [cells for of_model in lines.values() for cells in of_model]
    heads = [f"{share:.0%}" for share in shares]
    return markdown(["model", "items", "data set", "texts", *heads], rows, text_columns=4)


def gains() -> str:
    """What the tested row of the main table gains over every row that is not one of its own forms."""
    parts = [found for found in kept_results() if found["suite"] == HEADLINE]
    return "\n".join(gains_over_others(parts, protocol, metric) for protocol, metric in GAINS if parts)


def gains_over_others(parts: Sequence[dict[str, Any]], protocol: str, metric: str) -> str:
    """Gains of the tested row in one metric, a row for each other model; its own forms are those that bear its name."""
    tested = parts[0]["tested"]
    columns = {
        f"{data} {part}": {
            name: r
            for name, r in column_of(found, data, protocol, part, metric).items()
            if not name.startswith(tested)
        }
        for found, part in product(parts, SLICES)
        for data in found["data"]
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
