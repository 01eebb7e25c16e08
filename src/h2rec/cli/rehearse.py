"""``h2rec rehearse``: an experiment with made users, whose outcome is known."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from h2rec.cli.abtest import abtest
from h2rec.cli.run import SetOption
from h2rec.data.prepare import prepare
from h2rec.errors import MissingExtraError
from h2rec.experiments.analysis import RESULTS as ANALYSIS
from h2rec.experiments.rehearsal.rehearse import LOG, PLAN, RESULTS, beside, rehearse
from h2rec.experiments.report import percent
from h2rec.files import read_json, write_json
from h2rec.run.config import RunConfig
from h2rec.terminal import result_console


def rehearse_command(
    control: Annotated[Path, typer.Argument(metavar="CONTROL", help="Bundle that is served today.")],
    treatment: Annotated[Path, typer.Argument(metavar="TREATMENT", help="Bundle that is to be tried.")],
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="CONFIG", help="Configuration whose data users are made of.")
    ],
    overrides: SetOption = None,
    users: Annotated[int, typer.Option("--users", min=100, help="How many users.")] = 4000,
    days: Annotated[int, typer.Option("--days", min=1, help="Days of the experiment.")] = 14,
    before: Annotated[int, typer.Option("--before", min=0, help="Days before it begins, for CUPED.")] = 7,
    k: Annotated[int, typer.Option("--k", min=1, help="Items in an answer.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of users, visits and clicks.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder.")] = Path("runs/rehearsal"),
) -> None:
    """Rehearse an A/B test: two bundles, the real server, made users, the real log and analysis, and the truth."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:  # told before anything is computed
        raise MissingExtraError("the server of a rehearsal", "serve")
    dataset = prepare(RunConfig.load(data, overrides or []).data)
    results = rehearse(
        (control, treatment), dataset, out, users=users, days=days, before=before, k=k, seed=seed
    )
    abtest(out / LOG, plan=out / PLAN, out=out / "abtest")
    rows = beside(results["truth"], read_json(out / "abtest" / ANALYSIS)["metrics"])
    write_json(out / RESULTS, results | {"metrics": rows})
    result_console().print(_table(rows))
    inside = sum(row["covered"] for row in rows)
    played = results["played"]
    typer.echo(
        f"{inside} of {len(rows)} intervals hold the truth; {played['answers']:,} answers and "
        f"{played['events']:,} events in {played['seconds']:.0f} s; {results['same_lists']:.0%} of the users "
        "get the same list from both bundles"
    )
    typer.echo(
        f"report: {out / 'abtest' / 'report.html'}; log: {out / LOG}; truth and estimates: {out / RESULTS}"
    )


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="true lift and estimate", title_justify="left")
    for name in ("metric", "truth", "estimate", "from", "to", "holds the truth"):
        table.add_column(name, justify="left" if name in ("metric", "holds the truth") else "right")
    for row in rows:
        figures = (percent(row[name]) for name in ("truth", "estimate", "low", "high"))
        table.add_row(row["title"], *figures, "yes" if row["covered"] else "no")
    return table
