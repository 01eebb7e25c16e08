"""Figures of runs as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

SLICES = ("overall", "head", "tail")


def metrics_table(
    runs: Mapping[str, Mapping[str, Any]], protocol: str, metrics: Sequence[str], *, title: str
) -> Table:
    """Put runs side by side: a row a run, a column a slice and metric.

    Parameters
    ----------
    runs
        Name -> the ``test`` part of `metrics.json`.
    protocol
        full or sampledN: never mixed in one table.
    metrics
        Such as ``ndcg@10``; those that a protocol does not report are left out.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    first = next(iter(runs.values()))[protocol]
    shown = [(part, name) for part in SLICES for name in metrics if name in first[part]]
    for part, name in shown:
        table.add_column(f"{part}\n{name}", justify="right")
    for model, test in runs.items():
        table.add_row(model, *(_number(test[protocol][part][name]) for part, name in shown))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
