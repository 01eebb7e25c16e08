"""Parquet files."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from h2rec.data.readers.table import Record, Table
from h2rec.data.readers.text_values import as_text
from h2rec.errors import DataError

_ROWS_AT_ONCE = 100_000


def open_parquet(path: Path) -> Table:
    """Open a Parquet file; columns of any type are read as text.

    Raises
    ------
    DataError
        If it is not a whole Parquet file.
    """
    try:
        schema = pl.scan_parquet(path).collect_schema()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: not a whole Parquet file ({reason})", "get or write the file again"
        ) from None

    def scan() -> pl.LazyFrame:
        frame = pl.scan_parquet(path)
        return frame.select(as_text(pl.col(name), kind).alias(name) for name, kind in schema.items())

    return Table(path, tuple(schema), scan=scan, records=lambda: _records(scan()), unit="row")


def _records(frame: pl.LazyFrame) -> Iterator[Record]:
    start = 0
    try:
        while (rows := frame.slice(start, _ROWS_AT_ONCE).collect()).height:
            yield from enumerate(rows.iter_rows(named=True), start=start + 1)
            start += rows.height
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return  # the table tells what is wrong with the file; which row it is, nobody knows
