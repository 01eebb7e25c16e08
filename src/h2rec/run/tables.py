"""Figures of runs as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

LEADING = ("hit@10", "ndcg@10", "hit@100", "hit@500")
"""Metrics that are read first, in this order."""
SLICES = ("overall", "head", "tail")
WEIGHTED = "weighted"


def slices(*blocks: Mapping[str, Any]) -> list[str]:
    """Slices that all these parts of `metrics.json` have, one protocol each; ``weighted`` where it is there."""
    return [part for part in (*SLICES, WEIGHTED) if all(part in block for block in blocks)]


def slice_title(part: str, block: Mapping[str, Any]) -> str:
    """What a slice of a protocol's part of `metrics.json` is called: weights by their column."""
    return f"{part} by {block[part]['name']}" if part == WEIGHTED else part


def metrics_table(
    runs: Mapping[str, Mapping[str, Any]], protocol: str, metrics: Sequence[str], *, title: str
) -> Table:
    """Put runs side by side: a block a slice, a row a run, a column a metric.

    `runs`: name -> the ``test`` part of `metrics.json`. `protocol`: full or sampledN: never mixed in one table.
    `metrics`: such as ``ndcg@10``; those that a protocol does not report are left out.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("items")
    table.add_column("model")
    first, *others = (test[protocol] for test in runs.values())
    shown = [name for name in metrics if name in first["overall"]]
    for name in shown:
        table.add_column(name, justify="right")
    for part in slices(first, *others):
        title = escape(slice_title(part, first))
        for place, (model, test) in enumerate(runs.items()):
            figures = (_number(test[protocol][part][name]) for name in shown)
            table.add_row("" if place else title, model, *figures, end_section=place == len(runs) - 1)
    return table


def with_baselines(
    runs: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Any], protocol: str
) -> dict[str, Mapping[str, Any]]:
    """Put the baselines of `metrics.json` below runs, under the protocol that they are compared in."""
    blocks = {
        name: {protocol: block}
        for name, block in metrics.get("baselines", {}).items()
        if block["protocol"] == protocol
    }
    # A run of a changed baseline is called as that one is.
    return {f"{name}, changed" if name in blocks else name: test for name, test in runs.items()} | blocks


def apart(block: Mapping[str, Any]) -> str:
    """Say which cases are in no figure of a protocol; empty where all are."""
    reasons = {"repeats": "set apart as repeats", "too_few_negatives": "whose users leave too few negatives"}
    counts = block.get("apart", {})
    phrases = [f"{counts[name]:,} {why}" for name, why in reasons.items() if counts.get(name)]
    return f"without {' and '.join(phrases)}" if phrases else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
