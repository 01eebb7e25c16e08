"""Frames of new interactions and new items."""

from pathlib import Path
from typing import Any

import polars as pl

from h2rec.data.items import read_items
from h2rec.data.readers.typed import typed_table
from h2rec.data.settings import ColumnSettings
from h2rec.native import Kind, from_native
from h2rec.retrieval.manifest import read_manifest
from h2rec.run.new_events import Learned, NewEvents, read_events
from h2rec.run.update import update
from h2rec.run.updated import ShownUpdate


def read_new_items(items: Any, columns: ColumnSettings, known: ColumnSettings) -> tuple[pl.DataFrame, Kind]:
    """Read a frame of items: `item_id` and text fields, and what the frame came as.

    `known`: how the columns of the training's data were called.
    """
    frame, kind = from_native(items, "new items")
    rows, _ = read_items(typed_table(Path("new items"), frame.lazy).knowing(known.model_dump()), columns, {})
    return rows.drop("file_row"), kind


def take_in(
    bundle: Path, events: Any, items: Any, columns: ColumnSettings, out: Path, *, budget: float
) -> ShownUpdate:
    """Update a bundle by frames of events and of items; see `update`."""
    frame, kind = from_native(events, "new interactions")

    def read(learned: Learned) -> NewEvents:
        return read_events(typed_table(Path("new interactions"), frame.lazy), learned, columns)

    described = None if items is None else read_new_items(items, columns, read_manifest(bundle).columns)[0]
    return update(bundle, read, out, items=described, budget=budget).shown(kind)
