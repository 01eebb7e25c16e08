"""Progress of long work: a bar with throughput and time left on a terminal, silence elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from h2rec.terminal import Console

Advance = Callable[..., None]
"""Called as ``advance(n)`` after `n` units, optionally with ``note="loss 1.23"``."""


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "it") -> Iterator[Advance]:
    """Show a bar on standard error while the block runs, if that is a terminal.

    `description`: what is being done. `total`: units to do, or None when it is not known. `unit`: name of a unit,
    shown with the throughput.
    """
    if not sys.stderr.isatty():
        yield lambda n=1, note="": None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, rate="", note="")

        def advance(n: int = 1, note: str = "") -> None:
            speed = progress.tasks[0].speed
            rate = "" if speed is None else f"{speed:,.0f} {unit}/s"
            progress.update(task, advance=n, rate=rate, note=note)

        yield advance
