"""Tables of the documents, written between two marks of a page from results files."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from h2rec.files import write_text
from h2rec.research.suite.tables import Cell, Table

DOCS = Path(__file__).resolve().parents[1] / "docs"


def update(pages: Mapping[str, Mapping[str, Callable[[], str]]]) -> None:
    """Write the tables of pages, by page and name, or with ``--check`` only tell whether they are up to date."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="Only tell whether the pages are up to date.")
    check = parser.parse_args().check
    stale = []
    for page, tables in pages.items():
        path = DOCS / page
        old = path.read_text(encoding="utf-8")
        new = old
        for name, table in tables.items():
            new = replaced(new, name, table())
        if not check:
            write_text(path, new)
        elif new != old:
            stale.append(page)
    if check:
        sys.exit(f"not what the results files give: {', '.join(stale)}; run the table script" if stale else 0)


def replaced(page: str, name: str, table: str) -> str:
    """Put a table between its two marks."""
    start, end = f"<!-- results: {name} -->\n", f"<!-- end: {name} -->"
    before, found, rest = page.partition(start)
    _, mark, after = rest.partition(end)
    if not found or not mark:
        raise SystemExit(f"the page has no marks for '{name}'")
    return f"{before}{start}{table}{mark}{after}"


def cores(machine: Mapping[str, Any]) -> str:
    """How many cores a machine gave: ``1 core``, ``2 cores``."""
    count = machine["cores"]
    return f"{count} core" if count == 1 else f"{count} cores"


def command_in(folder: str, command: str) -> str:
    """A script's command as it is typed at the root of the checkout; results files have its name alone."""
    return f"python benchmarks/{folder}/{command}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Write a Markdown table, numbers to the right."""
    rule = ["---"] * text_columns + ["---:"] * (len(heads) - text_columns)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heads, rule, *rows))


def of_table(table: Table, text: Callable[[Cell], str]) -> str:
    """Write a suite's table as Markdown, its cells by one of the functions below."""
    heads = [*table.names, *(f"{group} {head}" for group, head in table.columns)]
    rows = [[*names, *map(text, cells)] for names, cells in table.rows]
    return markdown(heads, rows, text_columns=len(table.names))


def placed(cell: Cell) -> str:
    """A figure: bold the best, italic the second, + where its row is better than the tested one, - where worse."""
    text = {1: f"**{cell.text}**", 2: f"*{cell.text}*"}.get(cell.place or 0, cell.text)
    return text + {1: " +", -1: " -", 0: ""}[cell.sign]


def with_spread(cell: Cell) -> str:
    """A figure with its spread."""
    return placed(replace(cell, text=f"{cell.text} {cell.small}".rstrip()))


def bold(cell: Cell) -> str:
    """A gain, bold where it is significant."""
    return f"**{cell.text}**" if cell.sign else cell.text
