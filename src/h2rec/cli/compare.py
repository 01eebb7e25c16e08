"""``h2rec compare``: a suite of models, data sets and seeds, as tables with tests."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from h2rec.claims import claim_file
from h2rec.cli.numbers import read_numbers
from h2rec.cli.run import StagesOption
from h2rec.errors import ConfigError, H2RecError, MissingExtraError
from h2rec.research.suite.evidence import evidence
from h2rec.research.suite.files import shipped_suites, suite_path
from h2rec.research.suite.report import write_index, write_suite_report
from h2rec.research.suite.results import RESULTS_FILE
from h2rec.research.suite.suite import Suite
from h2rec.research.suite.tables import blocks_of, cpu_time
from h2rec.research.suite.terminal import comparison_table, contrast_table
from h2rec.research.suite.verdicts import verdicts
from h2rec.templates import is_page
from h2rec.terminal import Console, result_console

SUITE_HELP = "A YAML file, or a shipped suite: " + ", ".join(shipped_suites())
SuiteArgument = Annotated[str, typer.Argument(metavar="SUITE", help=SUITE_HELP)]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key for every run, but what is swept: --set train.epochs=10."),
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
JobsOption = Annotated[int, typer.Option("--jobs", min=1, help="Runs side by side.")]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="Run this row alone (repeatable).")]


def compare(
    suites: Annotated[list[str], typer.Argument(metavar="SUITE..", help=SUITE_HELP)],
    overrides: OverridesOption = None,
    *,
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the suite, default runs/NAME-OF-SUITE; of several, the folder of all, default runs.",
        ),
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
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Training seeds instead of the suite's own: 0,1,2 or 0-4.")
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Run nothing: tables and report of what is finished.")
    ] = False,
) -> None:
    """Run suites, or go on with them: tables, tests, `results.parquet` and `report.html`; finished runs are reused.

    Several suites share their stages, and get an `index.html` of what all of them say.
    """
    names = [suite_path(suite).stem for suite in suites]
    if len(set(names)) < len(names):
        raise ConfigError(f"suites {', '.join(suites)}: two of them are called alike")
    several = len(suites) > 1
    parent = (out or Path("runs")) if several else None
    folders = [out or Path("runs") / name if parent is None else parent / name for name in names]
    if parent is not None:
        claim_file(parent / "index.html", is_page)
    shared = stages if parent is None else stages or parent / "stages"
    # All are read before the first one runs, so that a wrong name fails at once.
    opened = [
        Suite.load(
            suite,
            folder,
            data=data or [],
            overrides=overrides or [],
            stages=shared,
            tuned=tuned,
            seeds=None if seeds is None else read_numbers("--seeds", seeds),
        )
        for suite, folder in zip(suites, folders, strict=True)
    ]
    for suite in opened:
        suite.chosen(only or [])
    on = None if cores is None else read_numbers("--cores", cores)
    console, results, failed = result_console(), [], False
    for suite in opened:
        failures = {} if tables else suite.run(jobs, cores=on, only=only or [])
        failed = failed or bool(failures)
        if suite.finished():
            results.append(_print_suite(suite, console))
        elif not several and failures:
            raise H2RecError(f"every run of {suite.name} failed, the first: {next(iter(failures.values()))}")
        elif not several:
            raise H2RecError(
                f"no run of {suite.name} is finished yet with these settings",
                "run it without --tables"
                if tables
                else "--only chose rows that are skipped on every data set",
            )
        else:
            console.print(f"no run of {suite.name} is finished", soft_wrap=True)
    if several and not results:
        raise H2RecError(
            f"no run of {', '.join(names)} is finished with these settings",
            "run them without --tables" if tables else "see what is told of each run above",
        )
    if parent is not None:
        write_index(parent / "index.html", results)
        console.print(f"all suites: {parent / 'index.html'}", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _print_suite(suite: Suite, console: Console) -> dict[str, Any]:
    """Print what is finished of a suite and write its report; return the evidence."""
    results = evidence(suite)
    for name, protocol in blocks_of(results):
        console.print(comparison_table(results, name, protocol))
        if (contrasts := contrast_table(results, name, protocol)) is not None:
            console.print(contrasts)
    for sentence in verdicts(results):
        console.print(escape(sentence), soft_wrap=True)
    for data, repeats in results["repeats"].items():
        if repeats["valid"]["repeats"] + repeats["test"]["repeats"]:
            console.print(f"{data}: {repeats['told']}", soft_wrap=True, markup=False)
    for a in results["answers"]:
        console.print(f"{a['data']}, {a['model']}, {a['file']}: {a['told']}", soft_wrap=True, markup=False)
    cost = results["cost"]
    console.print(
        f"{cost['runs_finished']} of {cost['runs']} runs finished, {' '.join(cpu_time(cost['cpu_hours']))} spent",
        soft_wrap=True,
    )
    if stale := suite.stale():
        console.print(f"left out, made with other settings: {len(stale)} runs", soft_wrap=True)
    for job, error in suite.failed().items():
        console.print(f"failed: {job.data}, {job.model}, seed {job.seed}: {error}", markup=False)
    console.print(f"figures and tests: {suite.out / RESULTS_FILE}", soft_wrap=True)
    try:
        write_suite_report(suite.out / "report.html", results)
        console.print(f"report: {suite.out / 'report.html'}", soft_wrap=True)
    except MissingExtraError as error:
        console.print(f"no report.html: {error.message}; {error.hint}", markup=False, soft_wrap=True)
    return results
