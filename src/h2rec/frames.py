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


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Open a Parquet file lazily."""
    return pl.scan_parquet(path.absolute(), glob=False, hive_partitioning=False)


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
    try:
        return name.encode() in (pq.read_metadata(path.absolute()).metadata or {})
    except (pa.ArrowException, OSError):
        return False
