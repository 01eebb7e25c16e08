"""From frames in memory to a `Dataset`, by way of what also reads files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from h2rec.data.columns import require_column
from h2rec.data.dataset import Dataset, Frames
from h2rec.data.interactions import interaction_columns
from h2rec.data.prepare import prepare_tables
from h2rec.data.readers.typed import typed_table
from h2rec.data.settings import DataSettings
from h2rec.errors import DataError, told_as
from h2rec.native import from_native

EVENTS, ITEMS = Path("events"), Path("items")
"""What messages call the frames."""


def dataset_of_frames(events: Any, items: Any, asked: Mapping[str, Any]) -> Dataset:
    """Prepare frames; see `Dataset.from_frames`.

    `asked`: values of `DataSettings` without files. The data set's `frames` keep no columns that were not read.
    """
    rows, kind = from_native(events, EVENTS.name)
    described = None if items is None else from_native(items, ITEMS.name)[0]
    files = {"interactions": EVENTS, "items": None if items is None else ITEMS}
    settings = DataSettings.parse({**files, **asked}, source="from_frames")
    try:
        table = typed_table(EVENTS, rows.lazy)
        user, item, timestamp, weight = interaction_columns(table, settings.columns)
        rating = (
            None if settings.min_rating is None else require_column(table, "rating", settings.columns.rating)
        )
        found = {"user": user, "item": item, "timestamp": timestamp, "rating": rating, "weight": weight}
        settings = settings.model_copy(update={"columns": settings.columns.model_copy(update=found)})
        texts = None if described is None else typed_table(ITEMS, described.lazy)
        dataset = prepare_tables(settings, table, texts)
    except DataError as error:
        # Settings are arguments here.
        raise told_as(error, "{}=") from None
    read = rows.select(list(dict.fromkeys(name for name in found.values() if name is not None)))
    if described is not None and texts is not None:
        described = described.select(texts.columns)
    return replace(dataset, frames=Frames(read, described, kind))
