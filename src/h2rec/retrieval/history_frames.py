"""Frames of histories, a row a user, and of events, a row an interaction."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from h2rec.data.columns import require_column
from h2rec.data.interactions import Report, interaction_columns, items_by_user, read_interactions
from h2rec.data.readers import Table
from h2rec.data.readers.typed import typed_table
from h2rec.data.settings import OBVIOUS, ColumnSettings
from h2rec.errors import DataError
from h2rec.native import Kind, from_native
from h2rec.retrieval.history_files import LISTS, item_lists

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class UserHistories:
    """Users of a frame and what they had, in the order of their first row."""

    users: pl.Series
    """The users' ids, under the name and, where they are numbers, in the type that they came in; `[n]`."""
    histories: list[list[str]]
    """Item ids as texts, oldest first, `[n]`."""
    item_name: str
    """What a column of items is called."""
    kind: Kind
    """What the frame came as."""


def read_histories(native: Any, columns: ColumnSettings, known: ColumnSettings = OBVIOUS) -> UserHistories:
    """Read a frame of histories.

    With a column of lists (`history`, the only one, or the one that `columns.item` names) it has a row a user.
    Otherwise a row is an event, and is read as for training: user, item, and a time where there is one.

    `known`: how the training's columns were called. Raises `DataError`, naming the row where one is at fault.
    """
    frame, kind = from_native(native, "histories")
    table = typed_table(Path("histories"), frame.lazy).knowing(known.model_dump())
    lists = columns.item or (LISTS if LISTS in frame.columns else next(iter(table.lists), None))
    if lists in table.lists or lists == LISTS:
        return _of_lists(frame, table, columns.user, lists, kind)
    user, item, time, _ = interaction_columns(table, columns)
    report: Report = {}
    rows = read_interactions(table, ColumnSettings(user=user, item=item, timestamp=time), report)
    if like := report.get("time_like_columns"):
        logger.warning(
            "histories: the order of the rows is the order in time; timestamp= could name %s", like
        )
    by_user = items_by_user(rows)
    users = by_user["user"].cast(pl.String).alias(user)
    if frame.schema[user].is_numeric():
        users = users.cast(frame.schema[user])
    return UserHistories(users, by_user["item"].to_list(), item, kind)


def _of_lists(frame: pl.DataFrame, table: Table, wanted: str | None, lists: str, kind: Kind) -> UserHistories:
    user = require_column(table, "user", wanted)
    users = frame[user]
    if users.null_count():
        raise DataError(f"{table.place(users.is_null().arg_true()[0] + 1)}: the user id is missing")
    column = frame[lists]
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    held = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    if held is None or not (held in (pl.String, pl.Categorical, pl.Enum, pl.Null) or held.is_numeric()):
        raise DataError(f"{table.path}: column '{lists}' is {column.dtype}, not lists of item ids")
    found, missing = item_lists(column)
    if missing:
        logger.warning("%s: %d entries of '%s' have no id and are left out", table.path, missing, lists)
    return UserHistories(users, found, "item_id", kind)
