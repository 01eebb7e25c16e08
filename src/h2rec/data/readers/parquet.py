"""Parquet files."""

from functools import partial
from pathlib import Path

import polars as pl

from h2rec.data.readers.table import Table
from h2rec.data.readers.typed import typed_table
from h2rec.errors import DataError
from h2rec.frames import scan_parquet


def open_parquet(path: Path) -> Table:
    """Open a Parquet file; its columns are read as text, and those that can't be are no part of the table.

    Raises `DataError` if it is not a whole Parquet file.
    """
    try:
        return typed_table(path, partial(scan_parquet, path))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: not a whole Parquet file ({reason})", "get or write the file again"
        ) from None
