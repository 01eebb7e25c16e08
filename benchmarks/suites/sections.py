"""A suite's part of docs/results_tables.md: what it says in sentences, its tables, its cost and origin."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.pages import bold, cores, markdown, of_table, placed, with_spread

from h2rec.research.suite.tables import (
    Cell,
    blocks_of,
    column_of,
    comparison,
    contrasts,
    figure,
    number,
)
from h2rec.research.suite.verdicts import verdicts
from h2rec.run.tables import SLICES

BUSINESS = ("main", "main_instruments")
"""Suites under which an operator's questions are answered."""
KINDS_OF_NOISE = {"text_noise": "swapped", "text_noise_drop": "dropped", "text_noise_replace": "replaced"}
"""Suites under which it is told how fast each model falls, and what they do to a share of the texts."""
SUMMED_UP = {"main": ("ndcg@10", "hit@500")}
"""Suites whose data sets are shown side by side, too, and by what: the top and the depth of a recall stage's list."""
SIGNS = {
    "alpha_entropy": "entropy of alpha",
    "mca_to_hid_norm": "cross-attention to HID",
    "positives_per_item": "positives of an item",
}


def section(all_results: Sequence[dict[str, Any]]) -> str:
    """One suite: what it says in sentences, then its data sets."""
    first = all_results[0]
    sentences = "".join(f"- {sentence}.\n" for results in all_results for sentence in verdicts(results))
    summary = across(all_results) if first["suite"] in SUMMED_UP else ""
    tables = "".join(map(of_data_sets, all_results))
    return f"## {first['title'] or first['suite']}\n\n{sentences}{summary}{tables}"


def across(all_results: Sequence[dict[str, Any]]) -> str:
    """All data sets of a suite side by side, a table for each protocol and metric that sums it up."""
    protocols = list(dict.fromkeys(protocol for results in all_results for _, protocol in blocks_of(results)))
    tables = []
    for protocol in protocols:
        for metric in SUMMED_UP[all_results[0]["suite"]]:
            columns = {
                f"{data} {part}": column
                for results in all_results
                for data in results["data"]
                for part in SLICES
                if (column := column_of(results, data, protocol, part, metric))
            }
            if columns:
                title = f"\n### {all_results[0]['suite']}: all data sets, {protocol}, {metric}\n\n"
                longest_first = sorted(all_results, key=lambda results: -len(results["rows"]))
                names = [name for results in longest_first for name in results["rows"]]
                tables.append(title + by_row(columns, names, with_spread))
    return "".join(tables)


def of_data_sets(results: dict[str, Any]) -> str:
    """The tables of one results file, what it cost and where it comes from."""
    lines = [
        f"\n### {results['suite']}: {data}, {protocol}\n\n"
        f"{of_table(comparison(results, data, protocol), placed)}{further(results, data, protocol)}"
        for data, protocol in blocks_of(results)
    ]
    if results["suite"] in KINDS_OF_NOISE:
        lines += [
            falls(results, data, metric) for data in results["data"] for metric in ("ndcg@10", "hit@500")
        ]
    if results["suite"] in BUSINESS:
        lines += [business(results, data) for data in results["data"]]
    for failure in results["failures"]:
        lines.append(
            f"\nNot there: {failure['model']} on {failure['data']}, seed {failure['seed']}: {failure['error']}\n"
        )
    return "".join(lines) + f"\n{source(results)}\n"


def further(results: dict[str, Any], data: str, protocol: str) -> str:
    """Gains of the suite's further comparisons; bold where significant, corrected over those of the same row."""
    shown = contrasts(results, data, protocol)
    return (
        ""
        if shown is None
        else f"\nGains over other rows, **bold** where significant:\n\n{of_table(shown, bold)}"
    )


def by_row(
    columns: Mapping[str, Mapping[str, dict[str, Any]]],
    names: Iterable[str],
    text: Callable[[Cell], str] = placed,
) -> str:
    """Columns of records by row as a table, the rows in the order of `names`; a dash where one is not there."""
    shown = [name for name in dict.fromkeys(names) if any(name in column for column in columns.values())]
    rows = [[name, *(text(figure(column.get(name))) for column in columns.values())] for name in shown]
    return markdown(["row", *columns], rows)


def business(results: dict[str, Any], data: str) -> str:
    """An operator's questions on one data set, in the full protocol: who is shown, who is served, is sharing noisy."""
    shown = {r["model"]: r for r in results["exposure"] if r["data"] == data}
    heads = ["tail_share@10", "tail_share@100", "coverage@10", "gini@10", "popularity@10"]
    exposure = [[name, *(f"{row[head]:.3f}" for head in heads)] for name, row in shown.items()]
    groups = [g for g in results["groups"] if g["data"] == data and g["protocol"] == "full"]
    served = {
        r["model"]: r for r in results["weighted_head"] if r["data"] == data and r["protocol"] == "full"
    }
    kinds = [g for g in groups if g["kind"] in ("popularity", "code_collision")]
    names = list(dict.fromkeys((g["kind"], g["name"], g["cases"]) for g in kinds))
    # Rows on other codes have other items alone and shared: a group is known by its cases, too.
    by_group = {(g["model"], g["kind"], g["name"], g["cases"]): g["ndcg@10"] for g in kinds}
    rows = []
    for model, row in served.items():
        records = (by_group.get((model, *group)) for group in names)
        rows.append([model, *map(number, [*records, row["ndcg@10"], row["hit@500"]])])
    group_count = sum(kind == "popularity" for kind, _, _ in names)
    cells = [
        f"{_of_popularity(name, group_count) if kind == 'popularity' else f'codes {name}'} ({cases:,})"
        for kind, name, cases in names
    ]
    return (
        f"{weights(results, data)}{inside(results, data)}"
        f"\n### {results['suite']}: {data}, who is shown\n\n{markdown(['row', *heads], exposure)}"
        f"\n### {results['suite']}: {data}, who is served: NDCG@10 by group of the target (cases)\n\n"
        f"{markdown(['row', *cells, 'head, weighted by popularity', 'the same, hit@500'], rows)}"
    )


def falls(results: dict[str, Any], data: str, metric: str) -> str:
    """How far each model falls along a sweep, in the full protocol, from where it starts."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for change in changes_along(results, metric):
        if (change["data"], change["protocol"]) == (data, "full") and change["relative"] is not None:
            row = rows.setdefault((change["model"], change["slice"]), {})
            row[str(change["value"])] = f"{change['relative']:+.1%}"
    values = list(dict.fromkeys(value for row in rows.values() for value in row))
    if not values:
        return ""
    return f"\n### {results['suite']}: {data}, change of {metric} from share {values[0]}\n\n" + markdown(
        ["model", "items", *values],
        [[*place, *(row.get(value, "–") for value in values)] for place, row in rows.items()],
        text_columns=2,
    )


def changes_along(results: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """How a metric of every model changes along a swept key, relative to that model at the key's first value.

    Returns
    -------
    list
        ``data, protocol, slice, model, key, value, relative``; `relative` is None where the first value found nothing,
        or was not run.
    """
    first: dict[tuple[str, ...], float] = {}
    starts: dict[tuple[str, str], Any] = {}
    for row in results["rows"].values():
        starts.setdefault((row["model"], row["key"]), row["value"])
    changes = []
    for record in results["records"]:
        row = results["rows"][record["model"]]
        if record["metric"] != metric or row["key"] is None or record["mean"] is None:
            continue
        place = {name: record[name] for name in ("data", "protocol", "slice")}
        place |= {"model": row["model"], "key": row["key"]}
        if row["value"] == starts[row["model"], row["key"]]:
            first[tuple(place.values())] = record["mean"]
        start = first.get(tuple(place.values()))
        changes.append(
            place | {"value": row["value"], "relative": record["mean"] / start - 1 if start else None}
        )
    return changes


def weights(results: dict[str, Any], data: str) -> str:
    """What validation chose for the branches to weigh, a figure a seed."""
    blends = {b["model"]: b["weights"] for b in results.get("blend", []) if b["data"] == data}
    if not blends:
        return ""
    branches = list(dict.fromkeys(branch for row_weights in blends.values() for branch in row_weights))
    rows = [
        [name, *(", ".join(map(str, row_weights[b])) if b in row_weights else "–" for b in branches)]
        for name, row_weights in blends.items()
    ]
    return f"\n### {results['suite']}: {data}, weights chosen on validation\n\n{markdown(['row', *branches], rows)}"


def inside(results: dict[str, Any], data: str) -> str:
    """Who gives the score along the lists and by popularity of what comes next, and the failure signs of training."""
    shares = [s for s in results.get("shares", []) if s["data"] == data]
    if not shares:
        return ""
    signs = {d["model"]: d for d in results["diagnosis"] if d["data"] == data}
    places = list(shares[0]["by_rank"])
    groups = list(dict.fromkeys(group for s in shares for group in s["by_popularity"]))
    columns = [("by_rank", place) for place in places] + [("by_popularity", group) for group in groups]
    rows = []
    for s in shares:
        cells = [
            " / ".join(f"{100 * share:.0f}" for share in s[kind][name]) if name in s[kind] else "–"
            for kind, name in columns
        ]
        row_signs = signs.get(s["model"], {})
        rows.append(
            [s["model"], " / ".join(s["branches"]), *cells, *(number(row_signs.get(sign)) for sign in SIGNS)]
        )
    heads = [
        "row",
        "branches",
        *(f"places {p}" for p in places),
        *(_of_popularity(group, len(groups)) for group in groups),
        *SIGNS.values(),
    ]
    title = f"\n### {results['suite']}: {data}, who gives the score (% by branch), and signs of failure\n\n"
    return title + markdown(heads, rows, text_columns=2)


def _of_popularity(group: str, count: int) -> str:
    """Name of a group of items by popularity, counted from the least popular one."""
    return f"popularity {int(group) + 1} of {count}"


def source(results: dict[str, Any]) -> str:
    """Command, commit, seeds, machine and cost."""
    origin, cost = results["provenance"], results["cost"]
    machine = origin["machines"][0]
    shown = {(r["data"], r["model"]) for r in results["records"]}
    searched = {(data, row) for data, rows in results.get("tuned", {}).items() for row in rows}
    default = dict.fromkeys(
        row for row in results["rows"] for data in results["data"] if (data, row) in shown - searched
    )
    settings = f" At default settings: {', '.join(default)}." if searched and default else ""
    seeds = {(r["data"], r["model"]): r["seeds"] for r in results["records"]}
    fewer = [
        f"{row if len(results['data']) == 1 else f'{row} on {data}'} ({count})"
        for (data, row), count in seeds.items()
        if count < len(origin["seeds"])
    ]
    settings += f" Of fewer seeds: {'; '.join(fewer)}." if fewer else ""
    commands = "".join(f"- `{command}`\n" for command in origin["commands"])
    return (
        f"{cost['runs_finished']} of {cost['runs']} runs, {cost['cpu_hours']:.1f} CPU hours; all against "
        f"{results['tested']}. Seeds {', '.join(map(str, origin['seeds']))}, {cores(machine)}, torch "
        f"{machine['torch']}.{settings}\n\n"
        f"<details><summary>Commands and commits</summary>\n\n{commands}\n"
        f"Commit {', '.join(origin['commits'])}.\n\n</details>\n"
    )
