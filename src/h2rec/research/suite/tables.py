"""Results of a suite as tables and sentences, for the terminal, the report and the documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from h2rec.research.columns import Record

Results = Mapping[str, Any]

LEVEL = 0.05
"""Corrected p-values below this are marked."""
MANY_TIMES = 9
"""Larger gains, over rows that find next to nothing, are not shown in percent."""
EXPOSURE_NAMES = {
    "coverage": "catalogue shown",
    "tail_share": "tail's share of places",
    "gini": "Gini of places",
    "popularity": "mean popularity",
}

COST_NAMES = {
    "training_cpu_seconds": "training, CPU s",
    "floats_per_item": "floats an item",
    "cpu_milliseconds_per_user": "ranking, CPU ms a user",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table, and how it is to be marked."""

    text: str
    small: str = ""
    """Small print."""
    place: int | None = None
    """1 is the best of its column, 2 the second."""
    sign: int = 0
    """1 or -1 where both corrected tests find the row better or worse than the one that it is compared with."""
    note: str = ""
    """Tooltip."""


@dataclass(frozen=True)
class Table:
    """Rows by their names, under columns that may stand in groups."""

    names: Sequence[str]
    """Heads of the names."""
    columns: Sequence[tuple[str, str]]
    """Group and head of each column of cells; the group may be empty."""
    rows: Sequence[tuple[Sequence[str], Sequence[Cell]]]
    data: str
    protocol: str = ""
    seeds: str = ""
    """How many seeds its rows have, in words."""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Groups of the columns, and how many columns each has; none where no column is in a group."""
        groups = [
            (group, len(list(columns))) for group, columns in groupby(group for group, _ in self.columns)
        ]
        return [] if groups == [("", len(self.columns))] else groups


def counted(count: int, what: str) -> str:
    """A number of things."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def cpu_time(hours: float) -> tuple[str, str]:
    """A figure and its unit: seconds where hours would read as nothing."""
    return (f"{hours:.2f}", "CPU hours") if hours >= 0.1 else (f"{hours * 3600:.0f}", "CPU seconds")


def number(value: float | None, digits: int = 4) -> str:
    """A figure in text; a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A relative difference in text; a dash for none."""
    if value is None:
        return "–"
    return f"{value:+.1%}" if value < MANY_TIMES else f"over {MANY_TIMES + 1} times"


def figure(record: Record | None) -> Cell:
    """The mean of a row, with its spread, place, and a mark where it is better or worse than the tested row."""
    if record is None or record["mean"] is None:
        return Cell("–")
    spread = "" if record["spread"] is None else f"±{record['spread']:.4f}"
    note, own = counted(record["seeds"], "seed"), turned(record)
    if own.get("relative") is not None:
        note += f"; against the tested row: {_test(own)}"
    return Cell(number(record["mean"]), spread, record["place"], sign_of(own), note)


def turned(record: Record) -> Record:
    """Turn the tested row's test against a row round: how much better that row is than the tested one."""
    if record.get("difference") is None:
        return record
    tested, effect = record["mean"] + record["difference"], record["effect_size"]
    return record | {
        "difference": -record["difference"],
        "relative": -record["difference"] / tested if tested else None,
        "low": -record["high"],
        "high": -record["low"],
        "effect_size": None if effect is None else -effect,
    }


def gain(record: Record | None) -> Cell:
    """How much better a row is than another one; a dash where that is not known or the other found nothing."""
    if record is None or record.get("relative") is None:
        return Cell("–")
    return Cell(percent(record["relative"]), sign=sign_of(record), note=_test(record))


def sign_of(record: Record) -> int:
    """1 where the tested row is better in both corrected tests, -1 where it is worse, 0 where neither is sure."""
    if record.get("p_t") is None or max(record["p_bootstrap"], record["p_t"]) >= LEVEL:
        return 0
    return 1 if record["difference"] > 0 else -1


def _test(record: Record) -> str:
    forms = {"difference": "difference {:+.5f}", "low": "[{:+.5f},", "high": "{:+.5f}],"}
    forms |= {"p_bootstrap": "p {:.4f} (bootstrap),", "p_t": "{:.4f} (t),", "effect_size": "d_z {:+.3f}"}
    known = [text.format(record[name]) for name, text in forms.items() if record.get(name) is not None]
    return " ".join([f"{record['relative']:+.2%},", *known])


def blocks_of(results: Results) -> list[tuple[str, str]]:
    """Data sets and protocols that have figures."""
    return list(dict.fromkeys((r["data"], r["protocol"]) for r in results["records"]))


def parts_of(results: Results, data: str, protocol: str) -> list[str]:
    """Slices that a data set has figures of under a protocol, in order."""
    return list(
        dict.fromkeys(
            r["slice"] for r in results["records"] if (r["data"], r["protocol"]) == (data, protocol)
        )
    )


def column_of(results: Results, data: str, protocol: str, part: str, metric: str) -> dict[str, Record]:
    """Records of one column of the tables by row."""
    wanted = (data, protocol, part, metric)
    return {
        r["model"]: r
        for r in results["records"]
        if (r["data"], r["protocol"], r["slice"], r["metric"]) == wanted
    }


def means_of(results: Results, data: str, protocol: str, part: str, metric: str) -> dict[str, float]:
    """Means of one column by row, of rows that have one."""
    column = column_of(results, data, protocol, part, metric)
    return {name: r["mean"] for name, r in column.items() if r["mean"] is not None}


def lead_metric(metrics: Sequence[str]) -> str:
    """The metric that single sentences and plots speak of: the first NDCG, else the first metric."""
    return next((name for name in metrics if name.startswith("ndcg")), metrics[0])


def headline_metrics(results: Results, protocol: str) -> list[str]:
    """Metrics that sentences of a protocol mention.

    They are the one that selected the models, if it is of this protocol and reported, and `lead_metric`.
    """
    reported = list(dict.fromkeys(r["metric"] for r in results["records"] if r["protocol"] == protocol))
    selected = [str(curve["selected_by"]).split(".") for curve in results["curves"]]
    selectors = [by[-1] for by in selected if by[0] == protocol and by[-1] in reported]
    return list(dict.fromkeys([*selectors, lead_metric(reported)]))


def comparison(results: Results, data: str, protocol: str) -> Table:
    """All figures of one data set and protocol, a row a model."""
    records = [r for r in results["records"] if (r["data"], r["protocol"]) == (data, protocol)]
    cells = {(r["model"], r["slice"], r["metric"]): r for r in records}
    columns = list(dict.fromkeys((r["slice"], r["metric"]) for r in records))
    names = dict.fromkeys(r["model"] for r in records)
    rows = [((name,), [figure(cells.get((name, *column))) for column in columns]) for name in names]
    seeds = [r["seeds"] for r in records]
    told = f"{min(seeds)} to {max(seeds)} seeds" if len(set(seeds)) > 1 else counted(seeds[0], "seed")
    return Table(["row"], columns, rows, data, protocol, told)


def contrasts(results: Results, data: str, protocol: str) -> Table | None:
    """Gains of the suite's further comparisons, by row and other row; None where there are none.

    A slice of fewer than two cases has no tests.
    """
    pairs = contrast_rows(results, data, protocol)
    if not pairs:
        return None
    columns = list(next(iter(pairs.values())))
    rows = [(pair, [gain(cells.get(column)) for column in columns]) for pair, cells in pairs.items()]
    return Table(["row", "against"], columns, rows, data, protocol)


def contrast_rows(
    results: Results, data: str, protocol: str
) -> dict[tuple[str, str], dict[tuple[str, str], Record]]:
    """Further comparisons of a data set and protocol: by row and other row, then by slice and metric."""
    rows: dict[tuple[str, str], dict[tuple[str, str], Record]] = {}
    for record in results.get("contrasts", []):
        if (record["data"], record["protocol"]) == (data, protocol):
            cells = rows.setdefault((record["model"], record["other"]), {})
            cells[record["slice"], record["metric"]] = record
    return rows


def exposure(results: Results, data: str) -> Table | None:
    """Who gets shown, beside what the tail gains in the leading metric; None where it was not measured."""
    shown = {e["model"]: e for e in results["exposure"] if e["data"] == data}
    if not shown:
        return None
    lead = lead_metric(results["metrics"])
    tail = means_of(results, data, "full", "tail", lead)
    # Short lists of another system have no figures at 100.
    names = [name for name in max(shown.values(), key=len) if name not in ("data", "model")]
    rows = []
    for model, record in shown.items():
        cells = [number(record.get(name), 1 if name.startswith("popularity") else 3) for name in names]
        rows.append(((model,), [Cell(text) for text in (number(tail.get(model)), *cells)]))
    kinds = [name.partition("@") for name in names]
    heads = [f"{EXPOSURE_NAMES.get(kind, kind)} @{depth}" for kind, _, depth in kinds]
    return Table(["row"], [("", head) for head in (f"tail {lead}", *heads)], rows, data)


def costs(results: Results, data: str) -> Table | None:
    """What rows cost beside what they find: a row a model; None where it was not recorded."""
    own = {c["model"]: c for c in results.get("costs", []) if c["data"] == data}
    if not own:
        return None
    lead = lead_metric(results["metrics"])
    overall = means_of(results, data, "full", "overall", lead)
    rows = [
        ((model,), [Cell(number(overall.get(model))), *(Cell(number(c[name], 1)) for name in COST_NAMES)])
        for model, c in own.items()
    ]
    return Table(["row"], [("", head) for head in (lead, *COST_NAMES.values())], rows, data)


def weighted_head(results: Results, data: str, protocol: str) -> Table:
    """The head by cases, weighted by popularity, and what a row loses there against the best one."""
    own = [w for w in results["weighted_head"] if (w["data"], w["protocol"]) == (data, protocol)]
    metrics = [name for name in results["metrics"] if any(name in w for w in own)]
    rows: dict[str, list[Cell]] = {w["model"]: [] for w in own}
    for metric in metrics:
        head = means_of(results, data, protocol, "head", metric)
        best = max((w.get(metric) or 0.0 for w in own), default=0.0)
        for w in own:
            value = w.get(metric)
            loss = value / best - 1 if best and value is not None else None
            texts = number(head.get(w["model"])), number(value), percent(loss)
            rows[w["model"]] += map(Cell, texts)
    columns = [
        ("", head) for metric in metrics for head in (f"head {metric}", "weighted by popularity", "loss")
    ]
    return Table(["row"], columns, [((model,), cells) for model, cells in rows.items()], data, protocol)
