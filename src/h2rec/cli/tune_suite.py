"""``h2rec tune-suite``: the same search for every row of a suite."""

from pathlib import Path
from typing import Annotated

import typer

from h2rec.cli.compare import DataOption, JobsOption, OnlyOption, OverridesOption, SuiteArgument
from h2rec.cli.run import StagesOption
from h2rec.research.suite.files import suite_path
from h2rec.research.suite.suite import Suite
from h2rec.research.suite.tuning import tune_suite
from h2rec.terminal import result_console


def tune_suite_command(
    suite: SuiteArgument,
    overrides: OverridesOption = None,
    *,
    data: DataOption = None,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Trainings of each row in all; finished ones count.")
    ] = 10,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the searches; default runs/tune-NAME-OF-SUITE.")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            "--also",
            help="What to try next to a row's own settings: a folder of settings by row, as found on another "
            "data set (tuned/beauty), or a file of settings for all rows (repeatable).",
        ),
    ] = None,
    stages: StagesOption = None,
    jobs: JobsOption = 1,
    only: OnlyOption = None,
) -> None:
    """Search the settings of every row of a suite on every data set, on validation; the same command resumes."""
    folder = out or Path("runs") / f"tune-{suite_path(suite).stem}"
    opened = Suite.load(suite, folder, data=data or [], overrides=overrides or [], stages=stages)
    failures = tune_suite(opened, trials, jobs=jobs, only=only or [], also=also or [])
    console = result_console()
    for (name, row), error in failures.items():
        console.print(f"failed: {name}, {row}: {error}", markup=False)
    console.print(
        f"settings: {folder / 'tuned'}, for h2rec compare {suite} --tuned\ntrials: {folder / 'search'}",
        soft_wrap=True,
        markup=False,
    )
    if failures:
        raise typer.Exit(1)
