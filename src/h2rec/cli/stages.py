"""``h2rec stages``: what finished work lies in the folders of runs, and the sweep of what no run uses."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from h2rec.claims import absolute
from h2rec.errors import DataError
from h2rec.files import cache_folder
from h2rec.run.housekeeping import Kept, kept_in, size_of, sweep_away
from h2rec.terminal import result_console


def stages(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of a run or a suite, or of several.")
    ],
    sweep: Annotated[bool, typer.Option("--sweep", help="Delete what no run in FOLDER uses.")] = False,
) -> None:
    """Show finished stages and checkpoints with their sizes, and which of them the runs in a folder use."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    kept = kept_in(folder)
    console = result_console()
    console.print(_table(kept, folder))
    unused = [entry for entry in kept if not entry.used]
    for name in ("embeddings", "datasets"):
        path = cache_folder() / name
        console.print(
            f"cache of all runs, {name}: {_megabytes(size_of(path))} in {path}", soft_wrap=True, markup=False
        )
    if sweep:
        gone = sweep_away(unused)
        console.print(f"deleted: {len(gone)}, {_megabytes(sum(entry.size for entry in gone))}")
    elif unused:
        console.print(
            f"not used: {len(unused)}, {_megabytes(sum(entry.size for entry in unused))}; --sweep deletes them"
        )


def _table(kept: list[Kept], folder: Path) -> Table:
    table = Table(title=escape(f"finished work in {folder}"), title_justify="left")
    table.add_column("what")
    table.add_column("folder", overflow="fold")
    for name in ("MB", "days old"):
        table.add_column(name, justify="right")
    table.add_column("used")
    for entry in kept:
        table.add_row(
            entry.kind,
            escape(str(entry.path.relative_to(absolute(folder)))),
            f"{entry.size / 1e6:,.1f}",
            f"{entry.age / 86400:.1f}",
            "yes" if entry.used else "no",
        )
    return table


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
