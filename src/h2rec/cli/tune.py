"""``h2rec tune``: search for the settings that are best on validation."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from h2rec.cli.run import ConfigArgument, SetOption, StagesOption, log_to
from h2rec.research.search.space import read_space
from h2rec.research.search.study import TuningResult, claim
from h2rec.research.search.study import tune as search
from h2rec.run.config import RunConfig
from h2rec.terminal import result_console

SHOWN_TRIALS = 5


def tune(
    config: ConfigArgument,
    overrides: SetOption = None,
    *,
    trials: Annotated[int, typer.Option("--trials", help="Trainings in all; finished ones count.")] = 30,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the search; default runs/tune-NAME.")
    ] = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="YAML file of ranges; default per model.")
    ] = None,
    stages: StagesOption = None,
) -> None:
    """Search for the settings that are best on validation; the same command resumes."""
    resolved = RunConfig.load(config, overrides or [])
    folder = out or Path("runs") / f"tune-{config.stem}-{resolved.preset}"
    claim(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log_to(folder / "tune.log")
    result = search(
        resolved, trials, folder, space=None if space is None else read_space(space), stages=stages
    )
    console = result_console()
    console.print(_table(result, resolved.train.select))
    console.print(f"best: {folder / 'best.yaml'}\ntrials: {folder / 'trials.json'}", soft_wrap=True)


def _table(result: TuningResult, select: str) -> Table:
    table = Table(title=f"best of {len(result.trials)} trials, by validation {select}")
    table.add_column("value", justify="right")
    table.add_column("settings", overflow="fold")
    done = [trial for trial in result.trials if trial.value is not None]
    for trial in sorted(done, key=lambda trial: trial.value or 0.0, reverse=True)[:SHOWN_TRIALS]:
        values = ", ".join(f"{key}={_short(value)}" for key, value in trial.settings.items())
        table.add_row(f"{trial.value:.5f}", values)
    return table


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
