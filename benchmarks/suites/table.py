"""Write docs/results_tables.md, and the gains told in docs/results.md, from the results files that `keep` left.

Run:  python -m benchmarks.suites.table [--check]
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.pages import cores, markdown, update

from h2rec.files import read_json
from h2rec.research.suite.comparison import (
    blocks_of,
    changes_along,
    column_of,
    contrast_rows,
    gain,
    significant,
    verdicts,
)
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

BUSINESS = ("main", "popularity")
"""Suites under which an operator's questions are answered."""
KINDS_OF_NOISE = {"text_noise": "swapped", "text_noise_drop": "dropped", "text_noise_replace": "replaced"}
"""Suites under which it is told how fast each model falls, and what they do to a share of the texts."""
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
MANY_TIMES = 9
"""Gains from here on are not told in percent."""
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
SUMMED_UP = {"main": ("ndcg@10", "hit@500")}
"""Suites whose data sets are shown side by side, too, and by what: the top and the depth of a recall stage's list."""


def suites() -> str:
    """All kept suites; the files of a suite, each of other data sets, together."""
    return "\n".join(section(list(of_suite)) for _, of_suite in groupby(kept_results(), itemgetter("suite")))


def kept_results() -> list[dict[str, Any]]:
    """All results files, suites that are read first in front."""
    found = [read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    found.sort(key=lambda f: (ORDER.index(f["suite"]) if f["suite"] in ORDER else len(ORDER), f["suite"]))
    return found


def section(parts: Sequence[dict[str, Any]]) -> str:
    """One suite: what it says in sentences, then its data sets."""
    first = parts[0]
    sentences = "".join(f"- {sentence}.\n" for found in parts for sentence in verdicts(found))
    summary = across(parts) if first["suite"] in SUMMED_UP else ""
    tables = "".join(map(of_data_sets, parts))
    return f"## {first['title'] or first['suite']}\n\n{sentences}{summary}{tables}"


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
            rows.append([name, *found["data"], *map(_figure, figures)])
    heads = ["tail's places", "items shown", "Gini of places", "most sold, ndcg@10", "most sold, hit@500"]
    return markdown(["row", "data set", *heads, "codes alone", "codes shared"], rows, text_columns=2)


def steps() -> str:
    """The rows between the paper's form and the default, in the suite's order."""
    tables = []
    for found in kept_results():
        if found["suite"] == STEPS:
            for data in found["data"]:
                columns = {
                    f"{part} {metric}, {protocol}": {
                        r["model"]: r for r in column_of(found, data, protocol, part, metric)
                    }
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
                line = [model, part, data, KINDS_OF_NOISE[found["suite"]], *map(_gain, cells)]
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
    columns: dict[str, list[dict[str, Any]]] = {}
    for found, part in product(parts, SLICES):
        for data in found["data"]:
            column = column_of(found, data, protocol, part, metric)
            columns[f"{data} {part}"] = [r for r in column if not r["model"].startswith(tested)]
    by_model = {head: {r["model"]: r for r in column} for head, column in columns.items()}
    names = dict.fromkeys(
        r["model"] for column in sorted(columns.values(), key=len, reverse=True) for r in column
    )
    best = {head: max(column, key=itemgetter("mean")) for head, column in columns.items()}
    rows = [[name, *(_gain(by_model[head].get(name)) for head in columns)] for name in names]
    rows.append(["**the best of these**", *map(_gain, best.values())])
    title = f"### {metric}, {protocol}\n\n"
    return title + markdown(["over", *columns], rows)


def across(parts: Sequence[dict[str, Any]]) -> str:
    """All data sets of a suite side by side, a table for each protocol and metric that sums it up."""
    protocols = list(dict.fromkeys(protocol for found in parts for _, protocol in blocks_of(found)))
    tables = []
    for protocol in protocols:
        for metric in SUMMED_UP[parts[0]["suite"]]:
            columns = {
                f"{data} {part}": {r["model"]: r for r in column}
                for found in parts
                for data in found["data"]
                for part in SLICES
                if (column := column_of(found, data, protocol, part, metric))
            }
            if columns:
                title = f"\n### {parts[0]['suite']}: all data sets, {protocol}, {metric}\n\n"
                longest_first = sorted(parts, key=lambda found: -len(found["rows"]))
                names = [name for found in longest_first for name in found["rows"]]
                tables.append(title + by_row(columns, names, spread=True))
    return "".join(tables)


def of_data_sets(found: dict[str, Any]) -> str:
    """The tables of one results file, what it cost and where it comes from."""
    parts = [
        f"\n### {found['suite']}: {data}, {protocol}\n\n"
        f"{table(found, data, protocol)}{contrasts(found, data, protocol)}"
        for data, protocol in blocks_of(found)
    ]
    if found["suite"] in KINDS_OF_NOISE:
        parts += [falls(found, data, metric) for data in found["data"] for metric in ("ndcg@10", "hit@500")]
    if found["suite"] in BUSINESS:
        parts += [business(found, data) for data in found["data"]]
    for failure in found["failures"]:
        parts.append(
            f"\nNot there: {failure['model']} on {failure['data']}, seed {failure['seed']}: {failure['error']}\n"
        )
    return "".join(parts) + f"\n{source(found)}\n"


def table(found: dict[str, Any], data: str, protocol: str) -> str:
    """Rows of one data set and protocol; bold the best, italic the second, + and - against the tested row."""
    columns = [
        (part, metric, {r["model"]: r for r in column})
        for part in SLICES
        for metric in found["metrics"]
        if (column := column_of(found, data, protocol, part, metric))
    ]
    names = [name for _, _, column in columns for name in column]
    return by_row({f"{part} {metric}": column for part, metric, column in columns}, names)


def contrasts(found: dict[str, Any], data: str, protocol: str) -> str:
    """Gains of the suite's further comparisons; bold where significant, corrected over those of the same row."""
    pairs = contrast_rows(found, data, protocol)
    if not pairs:
        return ""
    heads = ["row", "against", *(f"{part} {metric}" for part, metric in next(iter(pairs.values())))]
    rows = [[*pair, *map(_gain, cells.values())] for pair, cells in pairs.items()]
    return "\nGains over other rows, **bold** where significant:\n\n" + markdown(heads, rows, text_columns=2)


def by_row(
    columns: Mapping[str, Mapping[str, dict[str, Any]]], names: Iterable[str], *, spread: bool = False
) -> str:
    """Columns of records by row as a table, the rows in the order of `names`; a dash where one is not there."""
    shown = [name for name in dict.fromkeys(names) if any(name in column for column in columns.values())]
    rows = [
        [name, *(_cell(column.get(name), spread=spread) for column in columns.values())] for name in shown
    ]
    return markdown(["row", *columns], rows)


def business(found: dict[str, Any], data: str) -> str:
    """An operator's questions on one data set, in the full protocol: who is shown, who is served, is sharing noisy."""
    shown = {r["model"]: r for r in found["exposure"] if r["data"] == data}
    heads = ["tail_share@10", "tail_share@100", "coverage@10", "gini@10", "popularity@10"]
    exposure = [[name, *(f"{row[head]:.3f}" for head in heads)] for name, row in shown.items()]
    groups = [g for g in found["groups"] if g["data"] == data and g["protocol"] == "full"]
    served = {r["model"]: r for r in found["weighted_head"] if r["data"] == data and r["protocol"] == "full"}
    kinds = [g for g in groups if g["kind"] in ("popularity", "code_collision")]
    names = list(dict.fromkeys((g["kind"], g["name"], g["cases"]) for g in kinds))
    # Rows on other codes have other items alone and shared: a group is known by its cases, too.
    by_group = {(g["model"], g["kind"], g["name"], g["cases"]): g["ndcg@10"] for g in kinds}
    rows = []
    for model, row in served.items():
        of_groups = (by_group.get((model, *group)) for group in names)
        rows.append([model, *map(_figure, [*of_groups, row["ndcg@10"], row["hit@500"]])])
    parts = sum(kind == "popularity" for kind, _, _ in names)
    told = [
        f"{_of_popularity(name, parts) if kind == 'popularity' else f'codes {name}'} ({cases:,})"
        for kind, name, cases in names
    ]
    return (
        f"{weights(found, data)}{inside(found, data)}"
        f"\n### {found['suite']}: {data}, who is shown\n\n{markdown(['row', *heads], exposure)}"
        f"\n### {found['suite']}: {data}, who is served: NDCG@10 by group of the target (cases)\n\n"
        f"{markdown(['row', *told, 'head, weighted by popularity', 'the same, hit@500'], rows)}"
    )


def falls(found: dict[str, Any], data: str, metric: str) -> str:
    """How far each model falls along a sweep, in the full protocol, from where it starts."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for change in changes_along(found, metric):
        if (change["data"], change["protocol"]) == (data, "full") and change["relative"] is not None:
            row = rows.setdefault((change["model"], change["slice"]), {})
            row[str(change["value"])] = f"{change['relative']:+.1%}"
    values = list(dict.fromkeys(value for row in rows.values() for value in row))
    if not values:
        return ""
    return f"\n### {found['suite']}: {data}, change of {metric} from share {values[0]}\n\n" + markdown(
        ["model", "items", *values],
        [[*place, *(row.get(value, "–") for value in values)] for place, row in rows.items()],
        text_columns=2,
    )


def weights(found: dict[str, Any], data: str) -> str:
    """What validation chose for the branches to weigh beside the last HID branch's 1, a figure a seed."""
    blends = {b["model"]: b["weights"] for b in found.get("blend", []) if b["data"] == data}
    if not blends:
        return ""
    last = {
        name: next(b for b in ("ids", "hid", "third", "second") if b in of_row)
        for name, of_row in blends.items()
    }
    branches = [
        branch
        for branch in ("first", "second", "codes", "sid", "prefixes", "hybrid", "popularity")
        if any(branch in of_row and branch != last[name] for name, of_row in blends.items())
    ]
    rows = []
    for name, of_row in blends.items():
        shown = {branch: ", ".join(map(str, w)) for branch, w in of_row.items() if branch != last[name]}
        rows.append([name, *(shown.get(branch, "–") for branch in branches)])
    return f"\n### {found['suite']}: {data}, weights chosen on validation\n\n{markdown(['row', *branches], rows)}"


def inside(found: dict[str, Any], data: str) -> str:
    """Who gives the score along the lists and by popularity of what comes next, and the failure signs of training."""
    shares = [s for s in found.get("shares", []) if s["data"] == data]
    if not shares:
        return ""
    signs = {d["model"]: d for d in found["diagnosis"] if d["data"] == data}
    places = list(shares[0]["by_rank"])
    groups = list(dict.fromkeys(group for s in shares for group in s["by_popularity"]))
    columns = [("by_rank", place) for place in places] + [("by_popularity", group) for group in groups]
    rows = []
    for s in shares:
        cells = [
            " / ".join(f"{100 * share:.0f}" for share in s[kind][name]) if name in s[kind] else "–"
            for kind, name in columns
        ]
        told = signs.get(s["model"], {})
        rows.append(
            [s["model"], " / ".join(s["branches"]), *cells, *(_figure(told.get(sign)) for sign in SIGNS)]
        )
    heads = [
        "row",
        "branches",
        *(f"places {p}" for p in places),
        *(_of_popularity(group, len(groups)) for group in groups),
        *SIGNS.values(),
    ]
    title = f"\n### {found['suite']}: {data}, who gives the score (% by branch), and signs of failure\n\n"
    return title + markdown(heads, rows, text_columns=2)


SIGNS = {
    "alpha_entropy": "entropy of alpha",
    "mca_to_hid_norm": "cross-attention to HID",
    "positives_per_item": "positives of an item",
}


def _of_popularity(group: str, count: int) -> str:
    """Name of a group of items by popularity, counted from the least popular one."""
    return f"popularity {int(group) + 1} of {count}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _gain(record: dict[str, Any] | None) -> str:
    if record is None or record.get("relative") is None:
        return "–"
    # Over a row that finds next to nothing a percentage says nothing.
    text = gain(record) if record["relative"] < MANY_TIMES else f"over {MANY_TIMES + 1} times"
    return f"**{text}**" if significant(record) else text


def _cell(record: dict[str, Any] | None, *, spread: bool = False) -> str:
    if record is None or record["mean"] is None:
        return "–"
    text = f"{record['mean']:.4f}"
    if spread and record["spread"] is not None:
        text += f" ±{record['spread']:.4f}"
    text = {1: f"**{text}**", 2: f"*{text}*"}.get(record["place"], text)
    if significant(record):
        text += " +" if record["difference"] > 0 else " -"
    return text


def source(found: dict[str, Any]) -> str:
    """Command, commit, seeds, machine and cost."""
    origin, cost = found["provenance"], found["cost"]
    machine = origin["machines"][0]
    shown = {(r["data"], r["model"]) for r in found["records"]}
    searched = {(data, row) for data, rows in found.get("tuned", {}).items() for row in rows}
    default = dict.fromkeys(
        row for row in found["rows"] for data in found["data"] if (data, row) in shown - searched
    )
    settings = f" At default settings: {', '.join(default)}." if searched and default else ""
    seeds = {(r["data"], r["model"]): r["seeds"] for r in found["records"]}
    fewer = [
        f"{row if len(found['data']) == 1 else f'{row} on {data}'} ({count})"
        for (data, row), count in seeds.items()
        if count < len(origin["seeds"])
    ]
    settings += f" Of fewer seeds: {'; '.join(fewer)}." if fewer else ""
    commands = "".join(f"- `{command}`\n" for command in origin["commands"])
    return (
        f"{cost['runs_finished']} of {cost['runs']} runs, {cost['cpu_hours']:.1f} CPU hours; all against "
        f"{found['tested']}. Seeds {', '.join(map(str, origin['seeds']))}, {cores(machine)}, torch "
        f"{machine['torch']}.{settings}\n\n"
        f"<details><summary>Commands and commits</summary>\n\n{commands}\n"
        f"Commit {', '.join(origin['commits'])}.\n\n</details>\n"
    )


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
