"""The report of one run: a single HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from h2rec.files import write_text
from h2rec.run.config import RunConfig
from h2rec.run.tables import apart, slices
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
    page = environment.get_template("run.html.j2").render(
        title=f"{config.preset} on {config.data.name}",
        metrics=metrics,
        weight=config.data.columns.weight,
        slices=slices,
        leading=_leading,
        apart=apart,
        log=log,
        curves=_curves(log, metrics["training"]["selected_by"]),
        audit=audit,
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
    )
    write_text(path, page)


def _leading(block: Mapping[str, Any]) -> list[str]:
    """Metrics of a block, those that are read first in front."""
    first = [name for name in ("hit@10", "ndcg@10", "hit@100", "hit@500", "mrr") if name in block]
    return first + [name for name in block if name not in first and name not in ("cases", "apart")]


def _curves(log: Sequence[Mapping[str, Any]], select: str) -> list[dict[str, Any]]:
    """Training curves as polylines in a 600 x 160 box, epochs to the right."""
    last = max((record["epoch"] for record in log), default=1)
    series = {
        "training loss": [(record["epoch"], record["loss"]) for record in log],
        f"validation {select}": [(r["epoch"], r["valid"][select]) for r in log if "valid" in r],
    }
    return [_polyline(name, points, last) for name, points in series.items() if len(points) > 1]


def _polyline(name: str, points: list[tuple[int, float]], last: int) -> dict[str, Any]:
    low, high = min(y for _, y in points), max(y for _, y in points)
    spread = (high - low) or 1.0
    path = " ".join(f"{600 * x / last:.1f},{150 - 140 * (y - low) / spread:.1f}" for x, y in points)
    return {"name": name, "path": path, "low": low, "high": high, "last": last}
