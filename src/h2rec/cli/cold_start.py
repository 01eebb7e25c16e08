"""``h2rec cold-start``: items withheld from training wholly, ranked by their text and codes."""

from pathlib import Path
from typing import Annotated

import typer

from h2rec.cli.numbers import read_numbers
from h2rec.cli.run import ConfigArgument, SetOption, StagesOption, log_to
from h2rec.research.cold_start.experiment import SCOPES, claim, cold_start
from h2rec.research.suite.terminal import comparison_table
from h2rec.run.config import RunConfig
from h2rec.terminal import result_console


def cold_start_command(
    config: ConfigArgument,
    overrides: SetOption = None,
    *,
    share: Annotated[
        float, typer.Option("--share", help="Share of the items to withhold.", min=0.0, max=0.9)
    ] = 0.1,
    seeds: Annotated[str, typer.Option("--seeds", help="Training seeds.")] = "0,1,2",
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default runs/cold-start-NAME.")] = None,
    stages: StagesOption = None,
) -> None:
    """Withhold a share of the items from training, and rank them by codes, text and popularity."""
    numbers = read_numbers("--seeds", seeds)
    resolved = RunConfig.load(config, overrides or [])
    folder = out or Path("runs") / f"cold-start-{config.stem}"
    claim(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log_to(folder / "cold_start.log")
    results = cold_start(resolved, folder, share=share, seeds=numbers, stages=stages)
    console = result_console()
    for title in SCOPES.values():
        console.print(comparison_table(results, "cold start", title))
    levels = ", ".join(
        f"{count} share {level}" for level, count in enumerate(results["shared_levels"]) if count
    )
    console.print(
        f"{results['withheld_items']} items withheld, {results['known_items']} known, {results['cases']} cases; "
        f"leading codes in common with a known item: {levels}",
        soft_wrap=True,
    )
    console.print(f"figures and tests: {folder / 'cold_start.json'}", soft_wrap=True)
