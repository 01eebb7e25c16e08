"""The report of one run: a single HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from h2rec.files import write_text
from h2rec.run import pictures, words
from h2rec.run.baselines import verdicts
from h2rec.run.config import RunConfig
from h2rec.run.examples import Example
from h2rec.run.tables import apart, slice_title, slices
from h2rec.templates import page_templates


def write_report(
    path: Path,
    config: RunConfig,
    metrics: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    audit: Mapping[str, Any] | None,
    *,
    examples: Sequence[Example] = (),
) -> None:
    """Write the report of a finished run.

    `metrics`: content of `metrics.json`. `log`: one record an epoch. `audit`: content of `audit.json`, or None for
    a run without semantic IDs. `examples`: users who are shown.
    """
    environment = page_templates("h2rec.run")
    sentences = list(verdicts(metrics.get("baselines", {})))
    weight = config.data.columns.weight
    metrics = words.telling(metrics)
    systems = pictures.systems_of(config.called, metrics)
    selected = words.selected_title(metrics["training"]["selected_by"], weight)
    page = environment.get_template("run.html.j2").render(
        title=f"{config.called} on {config.data.name}",
        metrics=metrics,
        words=words,
        weight=weight,
        popularity_groups=config.data.popularity_groups,
        slices=slices,
        columns=_columns,
        slice_title=slice_title,
        apart=apart,
        names=list(systems),
        verdicts=sentences,
        standing=[*pictures.standing(systems), *pictures.lifts(metrics.get("baselines", {}))],
        popularity=pictures.popularity(systems),
        exposure=pictures.exposure(systems),
        shown=pictures.EXPOSURE,
        examples=examples,
        selected=selected,
        training=list(pictures.training(log, metrics["training"]["selected_by"], selected)),
        audit=audit,
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    )
    write_text(path, page)


def _columns(block: Mapping[str, Any]) -> list[list[str]]:
    """Metrics of a block for two tables that fit a page: what is found, and how high."""
    hits = [name for name in block if name.startswith("hit")]
    return [hits, [name for name in block if name not in (*hits, "cases")]]
