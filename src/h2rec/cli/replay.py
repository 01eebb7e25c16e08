"""``h2rec replay``: how fresh a model has to be, measured by living through the days."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from h2rec.cli.run import ConfigArgument, SetOption, log_to
from h2rec.research.replay.replay import replay
from h2rec.research.replay.report import cost_of, sentences
from h2rec.research.replay.strategies import METRICS, SLICES
from h2rec.run.config import RunConfig
from h2rec.run.update import BUDGET
from h2rec.terminal import result_console


def replay_command(
    config: ConfigArgument,
    overrides: SetOption = None,
    *,
    start: Annotated[
        str,
        typer.Option("--from", help="Where it begins: a day (2024-05-01), or a share of the events (80%)."),
    ] = "80%",
    every: Annotated[
        str, typer.Option("--every", help="How long a step is: 1d, 6h, 2w, or a share of the events (2%).")
    ] = "2%",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps at most; default: to the end.")
    ] = None,
    budget: Annotated[
        float,
        typer.Option(
            "--budget", min=0, max=1, help="Share of a full training's work that an update takes at most."
        ),
    ] = BUDGET,
    full_every: Annotated[
        int, typer.Option("--full-every", min=0, help="Steps between two full trainings; 0 for none.")
    ] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default runs/replay-NAME.")] = None,
) -> None:
    """Train at a moment, then live through the days: never fresh, counts, updates and full trainings side by side."""
    resolved = RunConfig.load(config, overrides or [])
    folder = out or Path("runs") / f"replay-{config.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    log_to(folder / "replay.log")
    results = replay(
        resolved, folder, start=start, every=every, steps=steps, budget=budget, full_every=full_every
    )
    result_console().print(_table(results))
    for sentence in sentences(results):
        typer.echo(sentence)
    for reason in results["steps"][-1]["due"]:
        typer.echo(f"a full training is due: {reason}")
    typer.echo(
        f"pictures: {folder / 'replay.html'}; figures: replay.json; the rank of every case: ranks.parquet"
    )


def _table(results: dict[str, Any]) -> Table:
    leading = METRICS[0]
    steps = results["steps"]
    title = f"{results['replay']}: {len(steps)} steps from {results['from']}, one every {results['every']}"
    table = Table(title=title, title_justify="left")
    for name in ("kept fresh by", *(f"{leading}, {part}" for part in SLICES), "CPU s each time"):
        table.add_column(name, justify="left" if name == "kept fresh by" else "right")
    for name in results["strategies"]:
        figures = [results["overall"][name][part][leading] for part in SLICES]
        table.add_row(
            name,
            *("-" if figure is None else f"{figure:.4f}" for figure in figures),
            f"{cost_of(results, name):.1f}",
        )
    return table
