"""Titles reach a terminal as text, never as commands for it."""

import io
import json

import polars as pl
import pytest
from rich.table import Table

from h2rec.cli.main import main
from h2rec.terminal import Console, printable, printable_json
from made_bundles import made_items, make_bundle

EVIL = "a\x1b[2Jb\x9b31mc\u202ed\x07e\u2066f\x00g\rh"


def test_what_a_terminal_obeys_is_dropped():
    assert printable(EVIL) == "a[2Jb31mcdefgh"
    assert printable("café\tสี\n") == "café\tสี\n"
    written = printable_json({"title": EVIL})
    assert written.isprintable()
    assert json.loads(written) == {"title": EVIL}


def test_console_keeps_its_own_colours_alone():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", width=60, highlight=False)
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    console.print(table)
    console.print(f"[red]{EVIL}[/]")
    shown = stream.getvalue()
    assert "\x1b[31ma[2Jb31mcdefgh" in shown
    assert not set("\x9b\u202e\x07\u2066\x00\r") & set(shown)
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_recommendations_of_evil_titles(tmp_path, capsys, options):
    items = made_items().with_columns(title=pl.col("title") + EVIL)
    folder = make_bundle(tmp_path / "bundle", items=items)
    history = "i1" if options else "i1,\x1b[2Jno"
    with pytest.raises(SystemExit):
        main(["recommend", str(folder), "--history", history, *options])
    told = "".join(capsys.readouterr())
    assert told.replace("\n", "").isprintable()
