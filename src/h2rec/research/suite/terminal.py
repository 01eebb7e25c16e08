"""What a comparison found, as tables for the terminal."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from rich.markup import escape
from rich.table import Table

from h2rec.research.suite.comparison import (
    LEVEL,
    Record,
    contrast_rows,
    gain,
    lead_metric,
    significant,
    told_metrics,
)
from h2rec.run.tables import SLICES


def comparison_table(found: Mapping[str, Any], data: str, protocol: str) -> Table:
    """Table of one data set and protocol, a block a slice, a row a model.

    Bold is the best mean of its column and slice, underlined the second; ``+`` or ``-`` tells that the tested row
    is better or worse than this one, corrected p < 0.05 in both tests. The last column is the tested row's gain
    over this one in the leading metric, and its effect size d_z.
    """
    chosen = [r for r in found["records"] if r["data"] == data and r["protocol"] == protocol]
    tested = found["tested"]
    seeds = "/".join(str(n) for n in sorted({r["seeds"] for r in chosen}))
    table = _table(
        f"{data}, test, {protocol}, {seeds} seeds, all against {tested}",
        "[bold]bold[/]: best of its column and items, [underline]underlined[/]: second; "
        f"+ or -: {escape(tested)} is better or worse than this row, p < {LEVEL} in both corrected tests",
    )
    table.add_column("items")
    table.add_column("model")
    shown = list(dict.fromkeys(r["metric"] for r in chosen))
    for metric in shown:
        table.add_column(metric, justify="right")
    lead = lead_metric(shown)
    table.add_column(f"gain, {lead}", justify="right")
    names = list(dict.fromkeys(r["model"] for r in chosen))
    for part in dict.fromkeys(r["slice"] for r in chosen):
        cells = {(r["model"], r["metric"]): r for r in chosen if r["slice"] == part}
        for place, name in enumerate(names):
            row = [_cell(cells[name, metric]) for metric in shown]
            last = place == len(names) - 1
            row.append(_gain(cells[name, lead]))
            table.add_row(part if place == 0 else "", escape(name), *row, end_section=last)
    return table


def contrast_table(found: Mapping[str, Any], data: str, protocol: str) -> Table | None:
    """Gains of the suite's further comparisons in `told_metrics`, a row each; a star where significant.

    None where there are none.
    """
    rows = contrast_rows(found, data, protocol)
    if not rows:
        return None
    table = _table(
        f"{data}, test, {protocol}, gains of a row over another one",
        f"*: the two rows differ, p < {LEVEL} in both corrected tests",
    )
    for name in ("row", "against"):
        table.add_column(name)
    # A slice of fewer than two cases has no tests.
    tested = next(iter(rows.values()))
    columns = [column for column in product(SLICES, told_metrics(found, protocol)) if column in tested]
    for part, metric in columns:
        table.add_column(f"{part} {metric}", justify="right")
    for (model, other), cells in rows.items():
        told = [gain(r) + (" *" if significant(r) else "  ") for r in map(cells.__getitem__, columns)]
        table.add_row(escape(model), escape(other), *told)
    return table


def _table(title: str, caption: str) -> Table:
    """An empty table; the caption, which says what the marks mean, may have markup."""
    return Table(title=escape(title), title_justify="left", caption=caption, caption_justify="left")


def _cell(record: Record) -> str:
    if record["mean"] is None:
        return "–  "
    text = f"{record['mean']:.4f}"
    if record["spread"] is not None:
        text += f" ±{record['spread']:.4f}"
    style = {1: "bold", 2: "underline"}.get(record["place"])
    if style:
        text = f"[{style}]{text}[/]"
    if not significant(record):
        return text + "  "
    return text + (" +" if record["difference"] > 0 else " -")


def _gain(record: Record) -> str:
    if record.get("relative") is None:
        return ""
    effect = record["effect_size"]
    return gain(record) + ("" if effect is None else f", d {effect:+.3f}")
