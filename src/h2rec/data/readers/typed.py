"""Rows whose columns have types: of a Parquet file, or of a frame in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from h2rec.data.readers.table import Record, Table
from h2rec.data.readers.text_values import as_text, has_text

_ROWS_AT_ONCE = 100_000

Scan = Callable[[], pl.LazyFrame]


def typed_table(path: Path, typed: Scan) -> Table:
    """Make a table of typed rows; columns are read as text, and those that can't be are no part of the table.

    `path`: the file, or what a frame is called. `typed`: gives all rows lazily. Raises what Polars raises if they can't
    be read.
    """
    schema = typed().collect_schema()
    binary = [name for name, kind in schema.items() if isinstance(kind, pl.Binary)]
    no_text = {name for name in binary if not _is_utf8(typed, name)}
    readable = {name: kind for name, kind in schema.items() if has_text(kind) and name not in no_text}

    def scan() -> pl.LazyFrame:
        return typed().select(as_text(pl.col(name), kind).alias(name) for name, kind in readable.items())

    return Table(
        path,
        tuple(readable),
        scan=scan,
        records=lambda: _records(scan()),
        unit="row",
        left_out=tuple(f"{name} ({_kind(schema[name])})" for name in schema if name not in readable),
        lists=frozenset(name for name, kind in readable.items() if isinstance(kind, pl.List | pl.Array)),
        numbers=frozenset(name for name, kind in readable.items() if kind.is_numeric()),
    )


def _is_utf8(typed: Scan, name: str) -> bool:
    """Whether a column of bytes holds text, as old writers leave it; pictures show at once that it does not."""
    for frame in (typed().head(100), typed()):
        try:
            frame.select(pl.col(name).cast(pl.String).is_not_null().any()).collect(engine="streaming")
        except pl.exceptions.PolarsError as error:
            if "utf8" in str(error):
                return False
            raise
    return True


def _kind(kind: pl.DataType) -> str:
    return "bytes" if isinstance(kind, pl.Binary) else str(type(kind).__name__).lower()


def _records(frame: pl.LazyFrame) -> Iterator[Record]:
    start = 0
    try:
        while (rows := frame.slice(start, _ROWS_AT_ONCE).collect()).height:
            yield from enumerate(rows.iter_rows(named=True), start=start + 1)
            start += rows.height
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return  # the table tells what is wrong with the file; which row it is, nobody knows
