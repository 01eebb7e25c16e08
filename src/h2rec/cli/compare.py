"""``h2rec compare``: a suite of models, data sets and seeds, as tables with tests."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from h2rec.errors import ConfigError, H2RecError, MissingExtraError
from h2rec.experiments.comparison import comparison_table, evidence, verdicts
from h2rec.experiments.suite import Suite
from h2rec.experiments.suite_files import shipped_suites, suite_path
from h2rec.experiments.suite_report import write_suite_report

SuiteArgument = Annotated[
    str,
    typer.Argument(metavar="SUITE", help="A YAML file, or a shipped suite: " + ", ".join(shipped_suites())),
]
OverridesOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key for every run: --set train.epochs=10.")
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="NAME[=CONFIG]",
        help="A data set instead of the suite's own (repeatable): a name below $H2REC_DATASETS, "
        "a named public one, or NAME=CONFIG.yaml.",
    ),
]
StagesOption = Annotated[
    Path | None, typer.Option("--stages", help="Folder of finished stages, shared with other suites.")
]
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="Runs side by side.")]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="Run this row alone (repeatable).")]


def compare(
    suite: SuiteArgument,
    overrides: OverridesOption = None,
    *,
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the suite; default runs/NAME-OF-SUITE.")
    ] = None,
    stages: StagesOption = None,
    tuned: Annotated[
        Path | None,
        typer.Option("--tuned", help="Folder of settings by data set and row, as h2rec tune-suite writes."),
    ] = None,
    jobs: JobsOption = 1,
    cores: Annotated[
        str | None, typer.Option("--cores", help="CPU cores to run on, such as 0-3 or 0,2; default all.")
    ] = None,
    only: OnlyOption = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Run nothing: tables and report of what is finished.")
    ] = False,
) -> None:
    """Run a suite, or go on with it: tables, tests, `results.json` and `report.html`; finished runs are reused."""
    path = suite_path(suite)
    folder = out or Path("runs") / path.stem
    opened = Suite.load(suite, folder, data=data or [], overrides=overrides or [], stages=stages, tuned=tuned)
    failures = {} if tables else opened.run(jobs, cores=_numbers(cores), only=only or [])
    if not opened.finished():
        if failures:
            raise H2RecError(f"every run of {suite} failed, the first: {next(iter(failures.values()))}")
        raise H2RecError(f"no run of {suite} is finished yet with these settings", "run it without --tables")
    found = evidence(opened)
    console = Console()
    for name, protocol in dict.fromkeys((r["data"], r["protocol"]) for r in found["records"]):
        console.print(comparison_table(found, name, protocol))
    for sentence in verdicts(found):
        console.print(escape(sentence), soft_wrap=True)
    cost = found["cost"]
    console.print(
        f"{cost['runs_finished']} of {cost['runs']} runs finished, {cost['cpu_hours']:.2f} CPU hours spent",
        soft_wrap=True,
    )
    if stale := opened.stale():
        console.print(f"left out, made with other settings: {len(stale)} runs", soft_wrap=True)
    for job, error in opened.failed().items():
        console.print(f"failed: {job.data}, {job.model}, seed {job.seed}: {error}", markup=False)
    console.print(f"figures and tests: {folder / 'results.json'}", soft_wrap=True)
    try:
        write_suite_report(folder / "report.html", found)
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True)
    except MissingExtraError as error:
        console.print(f"no report.html: {error.message}; {error.hint}", markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)


def _numbers(text: str | None) -> list[int] | None:
    """Read core numbers such as ``0-3,6``."""
    if text is None:
        return None
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.strip().isdigit() or (last and not last.strip().isdigit()):
            raise ConfigError(f"--cores {text}: expected numbers, such as 0-3 or 0,2")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)
