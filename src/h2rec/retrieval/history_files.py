"""Files of histories, a row a user, and of events, a row an interaction."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.data.columns import require_column
from h2rec.data.identifiers import identifier_reader
from h2rec.data.interactions import Report, interaction_columns, items_by_user, read_interactions
from h2rec.data.readers import open_table
from h2rec.data.readers.text_values import as_text
from h2rec.data.settings import OBVIOUS, ColumnSettings
from h2rec.errors import DataError

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Some users of a file."""

    users: list[str]
    histories: list[list[str]]
    """Item ids, oldest first."""
    missing: int = 0
    """How many entries had no id and were left out."""
    counts: list[Any] | None = None
    """How many items each is to have, unchecked; None where the file has no column for it."""


LISTS = "history"
"""The column of lists."""
OWN_K = "k"
"""The column of numbers of items, where a file has one."""
_WANTED = f"it needs 'user_id' and '{LISTS}', a list of item ids, oldest first: group events by user first"
_ROWS_AT_ONCE = 2048
_TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.null())


@dataclass(frozen=True)
class HistoryFile:
    """A file whose users are to be answered."""

    path: Path
    users: int
    """How many users it has."""
    batches: Callable[[], Iterator[Batch]]
    """Reads them, in the order of their first row."""
    events: int | None = None
    """Rows of a file of events that are in the histories; None for one of histories."""


def open_histories(
    path: Path,
    columns: ColumnSettings = OBVIOUS,
    *,
    known: ColumnSettings = OBVIOUS,
    k_column: str | None = None,
    separator: str | None = None,
    time_format: str | None = None,
) -> HistoryFile:
    """Open a file of users.

    A Parquet file with a column `history` has a row a user: `user_id`, and a list of item ids, oldest first, null for
    none; it is streamed, so that memory does not grow with it. It may say how many items each user is to have, in
    `k_column`, or in `k` where that is there. Any other is read as interactions for training are, in the same formats:
    user, item, and time where there is one; else the order of the rows is the order in time.

    `columns`, `separator`, `time_format`: as in `DataSettings`, for events. `known`: how the training's were called.

    Raises `DataError` if the file can't be read, or a column is missing or is not what it should be.
    """
    if path.suffix.lower() == ".parquet":
        file = _open(path)
        schema = file.schema_arrow
        if LISTS in schema.names or any(pa.types.is_nested(kind) for kind in schema.types):
            if columns != OBVIOUS:
                raise DataError(
                    f"{path}: a file of histories has the columns 'user_id' and '{LISTS}'",
                    "columns are named for events alone",
                )
            return open_lists(path, k_column)
    if k_column is not None:
        raise DataError(
            f"{path}: events have no number of items for each user",
            f"--k-column names a column of histories, Parquet with 'user_id' and '{LISTS}'",
        )
    report: Report = {}
    table = open_table(path, separator=separator).knowing(known.model_dump())
    user, item, time, _ = interaction_columns(table, columns)
    found = ColumnSettings(user=user, item=item, timestamp=time)
    rows = read_interactions(table, found, report, time_format=time_format)
    dropped = [name for name in ("rows_without_user_or_item", "duplicate_interactions") if report.get(name)]
    if dropped:
        logger.warning(
            "%s: %s", path, ", ".join(f"{report[name]:,} {name.replace('_', ' ')}" for name in dropped)
        )
    if time is None:
        logger.warning("%s: no time column was found: the order of the rows is the order in time", path)
    by_user = items_by_user(rows)
    return HistoryFile(path, by_user.height, partial(_slices, by_user), rows.height)


def open_lists(path: Path, k_column: str | None = None) -> HistoryFile:
    """Open a Parquet file of histories, see `open_histories`. Raises `DataError` if it is none."""
    file = _open(path)
    schema = file.schema_arrow
    for name in ("user_id", LISTS, *([] if k_column is None else [k_column])):
        if name not in schema.names:
            raise DataError(f"{path}: no column '{name}'; there are: {', '.join(schema.names)}", _WANTED)
    kind = schema.field(LISTS).type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{path}: column '{LISTS}' is {kind}, not a list", _WANTED)
    counts = k_column or (OWN_K if OWN_K in schema.names else None)
    return HistoryFile(path, int(file.metadata.num_rows), partial(_stream, path, counts))


def read_item_ids(path: Path) -> list[str]:
    """Item ids of a file: one a line of a `.txt`, or the item column of a table.

    Raises `DataError` if the file can't be read, has no such column, or no id.
    """
    if path.suffix.lower() == ".txt":
        try:
            ids = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: can't be read ({error})") from None
    else:
        table = open_table(path)
        column = require_column(table, "item_id", None)
        reader = identifier_reader(table, column)
        ids = table.collect(table.scan().select(reader(pl.col(column)))).to_series().drop_nulls().to_list()
    if not (found := [item for item in ids if item]):
        raise DataError(f"{path}: no item ids", "one a line, or a table with a column of them")
    return found


def _slices(by_user: pl.DataFrame) -> Iterator[Batch]:
    for part in by_user.iter_slices(_ROWS_AT_ONCE):
        yield Batch(part["user"].cast(pl.String).to_list(), part["item"].to_list())


def _open(source: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source.absolute())
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # names of columns need not be text
        raise DataError(f"{source}: not a Parquet file ({str(error).splitlines()[0]})") from None


def _stream(source: Path, k_column: str | None) -> Iterator[Batch]:
    file = _open(source)
    kind = file.schema_arrow.field(LISTS).type
    columns = ["user_id", LISTS, *([] if k_column is None else [k_column])]
    done = 0
    try:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
            users = batch.column("user_id").cast(pa.string()).to_pylist()
            if None in users:
                raise DataError(f"{source}, row {done + users.index(None) + 1}: the user id is missing")
            counts = None if k_column is None else batch.column(k_column).to_pylist()
            yield Batch(users, *item_lists(_series(batch.column(LISTS), kind)), counts)
            done += len(users)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}, after row {done}: {str(error).splitlines()[0]}") from None


def _series(histories: pa.Array, kind: pa.DataType) -> pl.Series:
    inner = kind.value_type
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner) or inner in _TEXTS):
        raise pa.ArrowInvalid(f"column 'history' holds {inner}, not item ids")
    return pl.Series("history", pl.from_arrow(histories.cast(pa.large_list(inner))))


def item_lists(column: pl.Series) -> tuple[list[list[str]], int]:
    """Read lists of ids as the readers of data files do: whole numbers without `.0`, no blanks around texts.

    Returns the lists without entries that are no id, and how many of these there were.
    """
    texts = column.list.eval(as_text(pl.element(), column.explode().dtype).str.strip_chars())
    lists = [[item for item in row or [] if item] for row in texts.to_list()]
    return lists, int(texts.list.len().sum()) - sum(map(len, lists))
