"""Frames from files: a path is the name of one file, whatever letters it has.

Polars' own readers take `[`, `*` and `?` for patterns, `~` for a home and `s3:` for a store, so that another
file may be read than the one named. Everything reads and writes through these; the linter refuses the others.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, all of it or some columns."""
    return pl.read_parquet(path.absolute(), columns=columns, glob=False, hive_partitioning=False)


def scan_parquet(*paths: Path) -> pl.LazyFrame:
    """Open Parquet files of the same columns lazily, as one frame."""
    return pl.scan_parquet([path.absolute() for path in paths], glob=False, hive_partitioning=False)


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file has."""
    rows: int = pq.read_metadata(path.absolute()).num_rows
    return rows


def note_of(path: Path, name: str) -> str | None:
    """The note of that name in the footer of a Parquet file; None where there is none, or no such file."""
    try:
        note = (pq.read_metadata(path.absolute()).metadata or {}).get(name.encode())
    except (pa.ArrowException, OSError):
        return None
    return None if note is None else str(note, "utf-8")


def write_parquet(
    frame: pl.DataFrame, path: Path, *, small: bool = False, notes: Mapping[str, str] | None = None
) -> None:
    """Write a Parquet file; `small` spends time on its size, `notes` stand in its footer."""
    frame.write_parquet(
        path.absolute(),
        compression_level=19 if small else None,
        statistics=not small,
        metadata=None if notes is None else dict(notes),
    )


def has_note(path: Path, name: str) -> bool:
    """Whether a file is a Parquet file with a note of that name."""
    return note_of(path, name) is not None
