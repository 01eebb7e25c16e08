"""Progress of long work: a bar with throughput and time left on a terminal and in a notebook, silence elsewhere."""

import sys
import time
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

from h2rec import distributed
from h2rec.terminal import Console

_SECONDS_BETWEEN = 0.5
"""How long a bar of a notebook stands still, at least."""

Advance = Callable[..., None]
"""Called as ``advance(n)`` after `n` units, optionally with ``note="loss 1.23"``."""


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "it") -> Iterator[Advance]:
    """Show a bar while the block runs: on standard error, if that is a terminal, or in the cell of a notebook.

    Of several workers the first one shows it. `description`: what is being done. `total`: units to do, or None when it
    is not known. `unit`: name of a unit, shown with the throughput.
    """
    console = Console(stderr=True)
    if distributed.rank() or not (sys.stderr.isatty() or console.is_jupyter):
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
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task(description, total=total, rate="", note="")
    with _in_cell(progress) if console.is_jupyter else _on_terminal(progress) as show:

        def advance(n: int = 1, note: str = "") -> None:
            speed = progress.tasks[0].speed
            rate = "" if speed is None else f"{speed:,.0f} {unit}/s"
            progress.update(task, advance=n, rate=rate, note=note)
            show()

        yield advance


@contextmanager
def _on_terminal(progress: Progress) -> Iterator[Callable[[], None]]:
    with progress:
        yield lambda: None


@contextmanager
def _in_cell(progress: Progress) -> Iterator[Callable[[], None]]:
    """Show a bar below the cell of a notebook: by Jupyter's own means, as Rich would need ipywidgets."""
    from IPython.display import display  # there where a notebook runs

    handle, last = display(progress, display_id=True), time.monotonic()

    def show() -> None:
        nonlocal last
        if time.monotonic() - last > _SECONDS_BETWEEN:
            handle.update(progress)
            last = time.monotonic()

    try:
        yield show
    finally:
        handle.update(progress)
