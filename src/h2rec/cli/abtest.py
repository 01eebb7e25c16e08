"""``h2rec abtest``: what an online experiment has shown."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from h2rec.errors import ConfigError
from h2rec.experiments.analysis import RESULTS, USERS, analyse, claim
from h2rec.experiments.exposure import answers_to_operators
from h2rec.experiments.plan import Plan
from h2rec.experiments.report import number, percent, write_report
from h2rec.files import atomic_path, write_json
from h2rec.frames import write_parquet
from h2rec.run.provenance import provenance
from h2rec.terminal import printable, printable_json, result_console


def abtest(
    logs: Annotated[Path, typer.Argument(metavar="LOGS", help="Folder or file of the experiment's log.")],
    *,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="YAML file with what was planned (docs/experiments.md).")
    ] = None,
    estimate: Annotated[
        Path | None,
        typer.Option(
            "--estimate", help="Bundle: what its order would have earned, where propensities were logged."
        ),
    ] = None,
    histories: Annotated[
        Path | None,
        typer.Option(
            "--histories", help="For --estimate: histories from before, as recommend --input reads them."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default runs/abtest-LOGS.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Ship, don't, or not yet: lifts with intervals by user, guardrails, the split, head and tail, and a page."""
    if (estimate is None) != (histories is None):
        raise ConfigError("--estimate needs --histories, and the other way round")
    estimated = None if estimate is None or histories is None else (estimate, histories)
    planned = Plan() if plan is None else Plan.load(plan)
    folder = out or Path("runs") / f"abtest-{logs.resolve().name.partition('.')[0]}"
    claim(folder, logs)
    found, users = analyse(logs, planned, estimated)
    results = found | {"provenance": provenance(planned.seed)}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS, results)
    with atomic_path(folder / USERS) as temporary:
        write_parquet(users, temporary)
    write_report(folder / "report.html", results)
    if as_json:
        typer.echo(printable_json(results, indent=1))
        return
    _show(results)
    typer.echo(f"pictures: {folder / 'report.html'}; figures: {RESULTS}; sums of every user: {USERS}")


def _show(results: dict[str, Any]) -> None:
    rows = results["rows"]
    for arm, verdict in results["verdicts"].items():
        result_console().print(_table(results, arm))
        for question, answer in answers_to_operators(results, arm):
            typer.echo(printable(f"{question} {answer}"))
        typer.echo(printable(f"{arm} against {results['control']}: {verdict['verdict']}"))
        for reason in verdict["reasons"]:
            typer.echo(printable(f"  {reason}"))
    for arm, found in results["interleaving"].items():
        typer.echo(printable(f"interleaved lists, {arm}, {found['users']:,} users: {found['verdict']}"))
    for arm, found in results["estimates"].items():
        result_console().print(_estimates(arm, found))
        for warning in found["warnings"]:
            typer.echo(printable(f"  {warning}"))
    typer.echo(f"{rows['read']:,} rows: {rows['used']:,} used, {rows['before']:,} of the time before")
    for row in rows["findings"]:
        typer.echo(
            printable(f"  {row['rows']:,} {row['kind']}: {row['reason']}; the first is {row['first']}")
        )
    for name, count in rows["unknown_columns"].items():
        typer.echo(printable(f"  column {name}, which {count:,} rows have, is none that is known"))
    for note in results["notes"]:
        typer.echo(printable(f"note: {note}"))


def _table(results: dict[str, Any], arm: str) -> Table:
    users = {name: f"{name}, {sizes['users']:,} users" for name, sizes in results["arms"].items()}
    title = f"{results['abtest']}: {users[arm]}, against {users[results['control']]}"
    table = Table(title=title, title_justify="left")
    for name in ("metric", "lift", "from", "to", "p", "p, Holm"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for row in results["metrics"][arm].values():
        p = ["–" if row[key] is None else f"{row[key]:.4f}" for key in ("p", "p_holm")]
        table.add_row(row["title"], percent(row["lift"]), percent(row["low"]), percent(row["high"]), *p)
    return table


def _estimates(arm: str, found: dict[str, Any]) -> Table:
    told = (
        f"the other bundle's order, from {found['answers']:,} answers of {arm}: {found['known_places']:.0%} of its "
        f"places can be judged, {found['places']:,} tell as much as {found['effective_places']:,.0f}"
    )
    table = Table(title=told, title_justify="left")
    for name in ("a place", "the log", "inverse propensities", "self-normalised"):
        table.add_column(name, justify="left" if name == "a place" else "right")
    for name, row in found["metrics"].items():
        values = (
            f"{number(row[way]['value'])} ({number(row[way]['low'])} to {number(row[way]['high'])})"
            for way in ("ips", "snips")
        )
        table.add_row(name, number(row["logged"]), *values)
    return table
