"""The report of a suite: one HTML file with tables and interactive plots, which needs nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from h2rec.errors import MissingExtraError
from h2rec.files import write_text
from h2rec.research.suite.comparison import (
    blocks_of,
    column_of,
    contrast_rows,
    gain,
    lead_metric,
    significant,
    standing,
    verdicts,
)
from h2rec.run.tables import SLICES
from h2rec.templates import page_templates

Record = dict[str, Any]

EXPOSURE_NAMES = {
    "coverage": "catalogue shown",
    "tail_share": "tail's share of places",
    "gini": "Gini of places",
    "popularity": "mean popularity",
}


def write_suite_report(path: Path, found: Mapping[str, Any]) -> None:
    """Write the report of what `comparison.evidence` found (the content of a `results.json`).

    Raises
    ------
    MissingExtraError
        If plotly, which draws the plots, is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingExtraError("a suite's report.html", "report") from None
    templates = Path(__file__).parent / "templates"
    environment = page_templates("h2rec.research.suite")
    # Rows stand in the suite's order, which sorted keys would lose.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    lead = lead_metric(found["metrics"])
    page = environment.get_template("suite.html.j2").render(
        found=found,
        lead=lead,
        slices=SLICES,
        protocols=list(dict.fromkeys(record["protocol"] for record in found["records"])),
        verdicts=list(standing(found)),
        selected=list(dict.fromkeys(c["selected_by"] for c in found["curves"] if c["selected_by"])),
        tables=list(_tables(found)),
        contrasts=list(_contrasts(found)),
        exposures=list(_exposures(found, lead)),
        exposure_names=EXPOSURE_NAMES,
        heads=list(_heads(found)),
        swept=list(dict.fromkeys(row["key"] for row in found["rows"].values() if row["key"])),
        parameters=_parameters(found),
        style=Markup((templates / "suite.css").read_text(encoding="utf-8")),
        script=Markup((templates / "suite.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )
    write_text(path, page)


def write_index(path: Path, all_found: Sequence[Mapping[str, Any]]) -> None:
    """Write a page of what several suites say in sentences, with links to their reports in folders of their names."""
    style = (Path(__file__).parent / "templates" / "suite.css").read_text(encoding="utf-8")
    page = page_templates("h2rec.research.suite").get_template("index.html.j2")
    suites = [{**found, "sentences": list(verdicts(found))} for found in all_found]
    write_text(path, page.render(suites=suites, style=Markup(style)))


def _tables(found: Mapping[str, Any]) -> Iterator[Record]:
    for data, protocol in blocks_of(found):
        chosen = [r for r in found["records"] if r["data"] == data and r["protocol"] == protocol]
        metrics = list(dict.fromkeys(r["metric"] for r in chosen))
        cells = {(r["model"], r["slice"], r["metric"]): r for r in chosen}
        names = list(dict.fromkeys(r["model"] for r in chosen))
        rows = [
            {
                "name": name,
                "cells": [_cell(cells[name, part, metric]) for part in SLICES for metric in metrics],
            }
            for name in names
        ]
        seeds = "/".join(str(n) for n in sorted({r["seeds"] for r in chosen}))
        yield {"data": data, "protocol": protocol, "metrics": metrics, "rows": rows, "seeds": seeds}


def _cell(record: Record) -> Record:
    told = f"{record['seeds']} seeds"
    if record.get("relative") is not None:
        told += f"; the tested row: {_test(record)}"
    return {name: record[name] for name in ("mean", "spread", "place")} | {
        "mark": _mark(record),
        "told": told,
    }


def _mark(record: Mapping[str, Any]) -> str:
    """Whether the tested row is significantly better (▲) or worse (▼)."""
    if not significant(record):
        return ""
    return "▲" if record["difference"] > 0 else "▼"


def _test(record: Mapping[str, Any]) -> str:
    effect = "not finite" if record["effect_size"] is None else f"{record['effect_size']:+.3f}"
    return (
        f"{record['relative']:+.2%}, difference {record['difference']:+.5f} "
        f"[{record['low']:+.5f}, {record['high']:+.5f}], p {record['p_bootstrap']:.4f} (bootstrap), "
        f"{record['p_t']:.4f} (t), d_z {effect}"
    )


def _contrasts(found: Mapping[str, Any]) -> Iterator[Record]:
    """Tables of the suite's further comparisons, a row each."""
    for data, protocol in blocks_of(found):
        pairs = contrast_rows(found, data, protocol)
        if not pairs:
            continue
        columns = list(next(iter(pairs.values())))
        rows = [
            {
                "model": model,
                "other": other,
                "cells": [
                    {
                        "gain": gain(cells[column]),
                        "mark": _mark(cells[column]),
                        "told": "" if cells[column]["relative"] is None else _test(cells[column]),
                    }
                    for column in columns
                ],
            }
            for (model, other), cells in pairs.items()
        ]
        yield {
            "data": data,
            "protocol": protocol,
            "metrics": list(dict.fromkeys(m for _, m in columns)),
            "rows": rows,
        }


def _exposures(found: Mapping[str, Any], lead: str) -> Iterator[Record]:
    for data in found["data"]:
        own = [e for e in found["exposure"] if e["data"] == data]
        if not own:
            continue
        tail = {r["model"]: r["mean"] for r in column_of(found, data, "full", "tail", lead)}
        names = [name for name in own[0] if name not in ("data", "model")]
        yield {"data": data, "names": names, "rows": [e | {"tail": tail.get(e["model"])} for e in own]}


def _heads(found: Mapping[str, Any]) -> Iterator[Record]:
    for data, protocol in blocks_of(found):
        own = [w for w in found["weighted_head"] if (w["data"], w["protocol"]) == (data, protocol)]
        metrics = [name for name in found["metrics"] if own and name in own[0]]
        head = {
            (r["model"], metric): r["mean"]
            for metric in metrics
            for r in column_of(found, data, protocol, "head", metric)
        }
        best = {metric: max((_or_zero(w[metric]) for w in own), default=0.0) for metric in metrics}
        rows = [
            {
                "model": w["model"],
                "cells": [
                    _head_cell(head.get((w["model"], metric)), w[metric], best[metric]) for metric in metrics
                ],
            }
            for w in own
        ]
        yield {"data": data, "protocol": protocol, "metrics": metrics, "rows": rows}


def _head_cell(head: float | None, weighted: float | None, best: float) -> Record:
    loss = None if weighted is None or best == 0 else weighted / best - 1
    return {"head": head, "weighted": weighted, "loss": loss}


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else value


def _parameters(found: Mapping[str, Any]) -> dict[str, int]:
    first: Sequence[str] = list(found["data"])[:1]
    return {c["model"]: c["parameters"] for c in found["curves"] if c["data"] in first}
