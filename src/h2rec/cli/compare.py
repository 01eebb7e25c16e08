"""``h2rec compare``: a suite of models, data sets and seeds, as tables with tests."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from h2rec.errors import H2RecError
from h2rec.experiments.comparison import compare as collect
from h2rec.experiments.comparison import comparison_table
from h2rec.experiments.suite import Suite


def compare(
    suite: Annotated[
        Path, typer.Argument(metavar="SUITE", help="A YAML file of models, data sets and seeds.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the suite; default runs/NAME-OF-SUITE.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs side by side.")] = 1,
    tables: Annotated[
        bool, typer.Option("--tables", help="Only print the tables of what is finished.")
    ] = False,
) -> None:
    """Run a suite, or go on with it, and print its tables; finished runs are reused."""
    opened = Suite.load(suite, out or Path("runs") / suite.stem)
    failures = {} if tables else opened.run(jobs)
    if not opened.finished():
        raise H2RecError(f"no run of {suite} is finished yet", "run it without --tables")
    records = collect(opened)
    console = Console()
    settings = opened.settings
    for data, protocol in dict.fromkeys((r["data"], r["protocol"]) for r in records):
        console.print(comparison_table(records, data, protocol, settings.metrics, settings.tested))
    missing = len(opened.jobs) - len(opened.finished())
    if missing:
        console.print(f"{missing} of {len(opened.jobs)} runs are not finished")
    for job, error in failures.items():
        console.print(f"failed: {job.data}, {job.model}, seed {job.seed}: {error}", markup=False)
    console.print(f"figures and tests: {opened.out / 'results.json'}", soft_wrap=True)
    if failures:
        raise typer.Exit(1)
