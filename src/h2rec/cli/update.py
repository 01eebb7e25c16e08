"""``h2rec update``: new interactions and items into a bundle, without a full training."""

from pathlib import Path
from typing import Annotated

import typer

from h2rec.data.interactions import Report
from h2rec.data.items import read_items
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.errors import DataError, told_as
from h2rec.retrieval.manifest import read_manifest
from h2rec.run.new_events import Learned, NewEvents, read_events
from h2rec.run.update import BUDGET, update
from h2rec.run.updated import Updated
from h2rec.runtime import set_threads
from h2rec.terminal import Console

_NAMED = 5


def update_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    interactions: Annotated[
        Path,
        typer.Argument(metavar="INTERACTIONS", help="New interactions: user, item, time, as for training."),
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the new bundle; BUNDLE itself is replaced at once.")
    ],
    items: Annotated[
        Path | None,
        typer.Option("--items", help="Items, new ones among them: ids and text, as for training."),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            min=0,
            max=1,
            help="Share of a full training's work that learning takes at most; 0 updates the counts alone.",
        ),
    ] = BUDGET,
    user: Annotated[
        str | None, typer.Option("--user", help="Column of the users, where it is not that of the training.")
    ] = None,
    item: Annotated[str | None, typer.Option("--item", help="Column of the items.")] = None,
    timestamp: Annotated[str | None, typer.Option("--timestamp", help="Column of the times.")] = None,
    rating: Annotated[str | None, typer.Option("--rating", help="Column of the ratings.")] = None,
    time_format: Annotated[
        str | None, typer.Option("--time-format", help="How times are written, such as %d/%m/%Y %H:%M.")
    ] = None,
    separator: Annotated[str | None, typer.Option("--separator", help="What stands between fields.")] = None,
    item_id: Annotated[str | None, typer.Option("--item-id", help="Column of the ids in --items.")] = None,
) -> None:
    """Take in new interactions, users and items: counts at once, weights by a short training, codes stay."""
    set_threads(None)
    columns = ColumnSettings(user=user, item=item, timestamp=timestamp, rating=rating, item_id=item_id)
    report: Report = {}

    def read(learned: Learned) -> NewEvents:
        table = open_table(interactions, separator=separator or learned.separator)
        events = read_events(table, learned, columns, time_format=time_format)
        report.update(events.report)
        return events

    try:
        described = None
        if items is not None:
            table = open_table(items).knowing(read_manifest(bundle).columns.model_dump())
            described = read_items(table, columns, {})[0].drop("file_row")
        _print(update(bundle, read, out, items=described, budget=budget), report)
    except DataError as error:
        raise told_as(error, "--{}") from None
    typer.echo(f"bundle: {out}")


def _print(updated: Updated, report: Report) -> None:
    made = updated.update
    words = [
        f"{made.events:,} new interactions",
        f"{made.new_users:,} new users",
        f"{made.new_items:,} new items",
    ]
    if made.targets:
        words.append(f"learned from {made.targets:,} targets in {made.cpu_seconds:.1f} s of CPU time")
    else:
        words.append("counts alone")
    typer.echo("; ".join(words))
    read = {name: value for name, value in report.items() if isinstance(value, int)}
    for count, what in (
        (
            updated.repeated + read.get("duplicate_interactions", 0),
            "interactions were known already, or given twice",
        ),
        (read.get("rows_without_user_or_item", 0), "rows without a user or an item were left out"),
        (read.get("rows_below_min_rating", 0), "rows rated lower than the training keeps were left out"),
        (updated.late, "interactions are older than what was known of their users, and went in between"),
    ):
        if count:
            _say(f"{count:,} {what}")
    if updated.unknown:
        named = ", ".join(updated.unknown[:_NAMED]) + (", .." if len(updated.unknown) > _NAMED else "")
        _say(
            f"{updated.left_out:,} interactions of {len(updated.unknown):,} items that the bundle does not know were "
            f"left out: {named} (--items takes their texts)"
        )
    if updated.growth is not None and updated.growth.without_text:
        _say(
            f"{len(updated.growth.without_text):,} new items have no text that is understood, and were left out"
        )
    for reason in updated.due:
        _say(f"a full training is due: {reason}")


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, markup=False)
