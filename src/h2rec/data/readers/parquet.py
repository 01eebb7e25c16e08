"""Parquet: one file, or a folder of them, as other engines write tables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.claims import files_in
from h2rec.data.readers.table import Record, Table
from h2rec.data.readers.typed import typed_table
from h2rec.errors import DataError
from h2rec.frames import parquet_rows, scan_parquet


def open_parquet(path: Path) -> Table:
    """Open a Parquet file; its columns are read as text, and those that can't be are no part of the table.

    Raises `DataError` if it is not a whole Parquet file.
    """
    return _open(path, [path])


def open_shards(folder: Path) -> Table:
    """Open all Parquet files below a folder as one table, their rows in the order of the files' names.

    Raises `DataError` if there is none, one is no whole Parquet file, or not all have the same columns.
    """
    files = shards_below(folder)
    if not files:
        raise DataError(f"{folder}: a folder where a file is expected, and no Parquet files are in it")
    schemas = []
    for file in files:
        with _whole(file):
            schemas.append(scan_parquet(file).collect_schema())
        odd = sorted(name for name, _ in schemas[0].items() ^ schemas[-1].items())
        if odd:
            here, there = (str(schema.get(odd[0], "missing")) for schema in (schemas[-1], schemas[0]))
            raise DataError(
                f"{file}: its column '{odd[0]}' is {here}, but {there} in {files[0].name}",
                "write all files of a folder with the same columns",
            )
    return _open(folder, files)


def _open(path: Path, files: Sequence[Path]) -> Table:
    with _whole(path):
        table = typed_table(path, partial(scan_parquet, *files))
        starts = accumulate(map(parquet_rows, files), initial=0)
        records = partial(_records, files, table.records)
        return replace(table, files=tuple(files), starts=tuple(starts), records=records)


def _records(files: Sequence[Path], records: Callable[[], Iterator[Record]]) -> Iterator[Record]:
    """The records; before them, `DataError` names a file that is damaged inside."""
    for file in files:
        with _whole(file), pq.ParquetFile(file) as opened:
            for _ in opened.iter_batches():
                pass
    yield from records()


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: not a whole Parquet file ({reason})", "get or write the file again"
        ) from None


def shards_below(folder: Path) -> list[Path]:
    """The Parquet files below a folder, by name; what begins with a dot or an underscore is passed over.

    Raises `DataError` if there are other files among them.
    """
    names = sorted(filter(is_visible, files_in(folder)))
    if others := [name for name in names if not name.endswith(".parquet")]:
        raise DataError(f"{folder / others[0]}: a folder of a table has Parquet files alone (.parquet)")
    return [folder / name for name in names]


def is_visible(name: str) -> bool:
    """Whether engines take a relative name for a file of data."""
    return not any(part.startswith((".", "_")) for part in Path(name).parts)
