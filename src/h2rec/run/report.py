"""The report of one run: a single HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from h2rec.files import write_text
from h2rec.run import pictures
from h2rec.run.baselines import verdicts
from h2rec.run.config import RunConfig
from h2rec.run.tables import LEADING, apart, slice_title, slices
from h2rec.templates import page_templates


def write_report(
    path: Path,
    config: RunConfig,
    metrics: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    audit: Mapping[str, Any] | None,
) -> None:
    """Write the report of a finished run.

    `metrics`: content of `metrics.json`. `log`: one record an epoch. `audit`: content of `audit.json`, or None for
    a run without semantic IDs.
    """
    environment = page_templates("h2rec.run")
    systems = pictures.systems_of(config.preset, metrics)
    baselines = metrics.get("baselines", {})
    page = environment.get_template("run.html.j2").render(
        title=f"{config.preset} on {config.data.name}",
        metrics=metrics,
        weight=config.data.columns.weight,
        slices=slices,
        slice_title=slice_title,
        leading=_leading,
        apart=apart,
        names=list(systems),
        verdicts=list(verdicts(baselines)),
        standing=[*pictures.standing(systems), *pictures.lifts(baselines)],
        popularity=pictures.popularity(systems),
        exposure=pictures.exposure(systems),
        training=list(pictures.training(log, metrics["training"]["selected_by"])),
        audit=audit,
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    )
    write_text(path, page)


def _leading(block: Mapping[str, Any]) -> list[str]:
    """Metrics of a block, those that are read first in front."""
    first = [name for name in (*LEADING, "mrr") if name in block]
    return first + [name for name in block if name not in first and name not in ("cases", "apart")]
