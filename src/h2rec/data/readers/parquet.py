"""Parquet files."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from h2rec.data.readers.table import Record, Table
from h2rec.data.readers.text_values import as_text, has_text
from h2rec.errors import DataError
from h2rec.frames import scan_parquet

_ROWS_AT_ONCE = 100_000


def open_parquet(path: Path) -> Table:
    """Open a Parquet file; its columns are read as text, and those that can't be are no part of the table.

    Raises `DataError` if it is not a whole Parquet file.
    """
    try:
        schema = scan_parquet(path).collect_schema()
        binary = [name for name, kind in schema.items() if isinstance(kind, pl.Binary)]
        no_text = {name for name in binary if not _is_utf8(path, name)}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: not a whole Parquet file ({reason})", "get or write the file again"
        ) from None
    readable = {name: kind for name, kind in schema.items() if has_text(kind) and name not in no_text}
    left_out = tuple(f"{name} ({_kind(schema[name])})" for name in schema if name not in readable)

    def scan() -> pl.LazyFrame:
        frame = scan_parquet(path)
        return frame.select(as_text(pl.col(name), kind).alias(name) for name, kind in readable.items())

    return Table(
        path,
        tuple(readable),
        scan=scan,
        records=lambda: _records(scan()),
        unit="row",
        left_out=left_out,
        lists=frozenset(name for name, kind in readable.items() if isinstance(kind, pl.List | pl.Array)),
    )


def _is_utf8(path: Path, name: str) -> bool:
    """Whether a column of bytes holds text, as old writers leave it; pictures show at once that it does not."""
    for frame in (scan_parquet(path).head(100), scan_parquet(path)):
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
