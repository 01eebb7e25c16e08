"""Tables of a suite for the terminal."""

from itertools import product

from rich.markup import escape
from rich.table import Table

from h2rec.research.suite.tables import (
    LEVEL,
    Cell,
    Results,
    column_of,
    comparison,
    contrasts,
    gain,
    headline_metrics,
    lead_metric,
    parts_of,
    turned,
)


def comparison_table(results: Results, data: str, protocol: str) -> Table:
    """Table of one data set and protocol, a block a slice, a row a model.

    Bold is the best mean of its column and slice, underlined the second; ``+`` or ``-`` tells that the row is better
    or worse than the tested one, corrected p < 0.05 in both tests. The last column is how much better the row is
    in the leading metric, and its effect size d_z.
    """
    shown, tested = comparison(results, data, protocol), results["tested"]
    table = _table(
        f"{data}, test, {protocol}, {shown.seeds} a row, all against {tested}",
        "[bold]bold[/]: best of its column and items, [underline]underlined[/]: second; "
        f"+ or -: the row is better or worse than {escape(tested)}, p < {LEVEL} in both corrected tests",
    )
    metrics = list(dict.fromkeys(metric for _, metric in shown.columns))
    lead = lead_metric(metrics)
    for name in ("items", "model"):
        table.add_column(name)
    for name in (*metrics, f"{lead} against {tested}"):
        table.add_column(name, justify="right")
    for part in dict.fromkeys(group for group, _ in shown.columns):
        records = column_of(results, data, protocol, part, lead)
        for place, ((name,), cells) in enumerate(shown.rows):
            own = [
                _marked(cell) for (group, _), cell in zip(shown.columns, cells, strict=True) if group == part
            ]
            against = turned(records[name])
            effect = against.get("effect_size")
            gain_text = gain(against).text.strip("–") + ("" if effect is None else f", d {effect:+.3f}")
            last = place == len(shown.rows) - 1
            table.add_row("" if place else escape(part), escape(name), *own, gain_text, end_section=last)
    return table


def contrast_table(results: Results, data: str, protocol: str) -> Table | None:
    """Gains of the suite's further comparisons in `headline_metrics`, a row each; a star where significant.

    None where there are none.
    """
    shown = contrasts(results, data, protocol)
    if shown is None:
        return None
    table = _table(
        f"{data}, test, {protocol}, gains of a row over another one",
        f"*: the two rows differ, p < {LEVEL} in both corrected tests",
    )
    for name in shown.names:
        table.add_column(name)
    wanted = product(parts_of(results, data, protocol), headline_metrics(results, protocol))
    columns = [column for column in wanted if column in shown.columns]
    for column in columns:
        table.add_column(escape(" ".join(column)), justify="right")
    for names, cells in shown.rows:
        by_column = dict(zip(shown.columns, cells, strict=True))
        texts = [cell.text + (" *" if cell.sign else "  ") for cell in map(by_column.__getitem__, columns)]
        table.add_row(*map(escape, names), *texts)
    return table


def _table(title: str, caption: str) -> Table:
    """An empty table; the caption, which says what the marks mean, may have markup."""
    return Table(title=escape(title), title_justify="left", caption=caption, caption_justify="left")


def _marked(cell: Cell) -> str:
    text = f"{cell.text} {cell.small}".rstrip()
    style = {1: "bold", 2: "underline"}.get(cell.place or 0)
    if style:
        text = f"[{style}]{text}[/]"
    return text + {1: " +", -1: " -", 0: "  "}[cell.sign]
