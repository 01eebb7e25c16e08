"""Frames from files: a path is the name of one file, whatever letters it has.

Polars' own readers take `[`, `*` and `?` for patterns, `~` for a home and `s3:` for a store, so that another
file may be read than the one named. Everything reads and writes through these; the linter refuses the others.
"""

from pathlib import Path

import polars as pl


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a Parquet file, all of it or some columns."""
    return pl.read_parquet(path.absolute(), columns=columns, glob=False, hive_partitioning=False)


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Open a Parquet file lazily."""
    return pl.scan_parquet(path.absolute(), glob=False, hive_partitioning=False)


def write_parquet(frame: pl.DataFrame, path: Path, *, small: bool = False) -> None:
    """Write a Parquet file; `small` spends time on its size."""
    frame.write_parquet(path.absolute(), compression_level=19 if small else None, statistics=not small)
