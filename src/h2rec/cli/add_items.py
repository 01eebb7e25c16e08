"""``h2rec add-items``: new items from their text, without retraining."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from h2rec.claims import claim_folder
from h2rec.data.interactions import Report
from h2rec.data.items import read_items
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.errors import DataError, told_as
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.growth import Growth, add_items
from h2rec.retrieval.manifest import is_bundle
from h2rec.terminal import Console, result_console

_SHOWN = 10
_NAMED = 3


def add_items_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    items: Annotated[Path, typer.Argument(metavar="ITEMS", help="Item file: ids and text, as for training.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new bundle.")],
    item_id: Annotated[
        str | None, typer.Option("--item-id", help="Column of the item ids, where its name is not obvious.")
    ] = None,
    separator: Annotated[str | None, typer.Option("--separator", help="What stands between fields.")] = None,
) -> None:
    """Add items from their text: codes from the frozen quantizer, the rest from items of like text, a new bundle."""
    claim_folder(out, is_bundle)
    report: Report = {}
    grown = Bundle.load(bundle)
    try:
        file = open_table(items, separator=separator).knowing(grown.manifest.columns.model_dump())
        table, _ = read_items(file, ColumnSettings(item_id=item_id), report)
    except DataError as error:
        raise told_as(error, "--{}") from None
    growth = add_items(grown, table.drop("file_row"), out)
    _print_growth(growth)
    typer.echo(f"bundle: {out}")


def _print_growth(growth: Growth) -> None:
    table = Table(title=f"{len(growth.added)} items added", title_justify="left")
    for name in ("item", "codes", "like", "codes fit worse than"):
        table.add_column(name)
    for item in growth.added[:_SHOWN]:
        codes = "-".join(map(str, item.codes))
        table.add_row(
            escape(item.item_id),
            codes,
            escape(", ".join(item.like[:_NAMED])),
            "all items" if item.outlyingness == 1 else f"{item.outlyingness:.0%} of items",
        )
    result_console().print(table)
    if len(growth.added) > _SHOWN:
        result_console().print(f".. and {len(growth.added) - _SHOWN} more")
    for items, what in (
        (growth.existing, "known already and left as they are"),
        (growth.without_text, "left out, as they have no text that the encoder understands"),
    ):
        if items:
            shown = ", ".join(items[:_SHOWN]) + (", .." if len(items) > _SHOWN else "")
            Console(stderr=True).print(f"{len(items)} items {what}: {shown}", highlight=False, markup=False)
