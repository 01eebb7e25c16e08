"""The report of a suite: one HTML file with tables and interactive plots, which needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from h2rec.errors import needs_extra
from h2rec.files import write_text
from h2rec.research.suite import tables
from h2rec.research.suite.tables import Results
from h2rec.research.suite.verdicts import standing, verdicts
from h2rec.templates import page_templates

TEMPLATES = Path(__file__).parent / "templates"


def write_suite_report(path: Path, results: Results) -> None:
    """Write the report of the results of `evidence`.

    Raises `MissingExtraError` if plotly, which draws the plots, is not installed.
    """
    with needs_extra("a suite's report.html", "report"):
        from plotly.offline import get_plotlyjs
    environment = page_templates("h2rec.research.suite")
    # Rows stand in the suite's order, which sorted keys would lose.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    blocks, first = tables.blocks_of(results), next(iter(results["data"]), None)
    page = environment.get_template("suite.html.j2").render(
        results=results,
        spent=tables.cpu_time(results["cost"]["cpu_hours"]),
        lead=tables.lead_metric(results["metrics"]),
        protocols=list(dict.fromkeys(protocol for _, protocol in blocks)),
        verdicts=list(standing(results)),
        selected=list(dict.fromkeys(c["selected_by"] for c in results["curves"] if c["selected_by"])),
        comparisons=[tables.comparison(results, *block) for block in blocks],
        contrasts=[shown for block in blocks if (shown := tables.contrasts(results, *block))],
        costs=[shown for data in results["data"] if (shown := tables.costs(results, data))],
        exposures=[shown for data in results["data"] if (shown := tables.exposure(results, data))],
        heads=[tables.weighted_head(results, *block) for block in blocks],
        swept=list(dict.fromkeys(row["key"] for row in results["rows"].values() if row["key"])),
        parameters={c["model"]: c["parameters"] for c in results["curves"] if c["data"] == first},
        style=_part("suite.css"),
        script=_part("suite.js"),
        plotly=Markup(get_plotlyjs()),
    )
    write_text(path, page)


def write_index(path: Path, all_results: Sequence[Results]) -> None:
    """Write a page with the verdicts of several suites and links to their reports."""
    page = page_templates("h2rec.research.suite").get_template("index.html.j2")
    hours = [results["cost"]["cpu_hours"] for results in all_results]
    suites = [
        {**results, "sentences": list(verdicts(results)), "spent": tables.cpu_time(spent)}
        for results, spent in zip(all_results, hours, strict=True)
    ]
    write_text(path, page.render(suites=suites, spent=tables.cpu_time(sum(hours)), style=_part("suite.css")))


def _part(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
