"""From many rows of Parquet to a `Dataset`, out of core: parts of the rows, then buckets of the users.

Every part of the rows is read and cleaned by itself, and its rows are put into buckets by a hash of the user. A bucket
then has all rows of its users: it drops those that stand twice and puts the others in order. An engine does parts and
buckets; each is a file that appears when it is whole, so what was finished is not done again. Left for one machine are
lists of ids, and the places of the rows in the histories of all users.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.data.assemble import assembled, check_split
from h2rec.data.buckets import Buckets, bucket_file
from h2rec.data.dataset import Dataset
from h2rec.data.histories import IntArray
from h2rec.data.interactions import (
    Counts,
    Reading,
    Report,
    check_any_left,
    clean,
    count_repeats,
    first_of_each,
    look_at_ids,
)
from h2rec.data.readers.table import Table
from h2rec.data.readers.typed import typed_table
from h2rec.data.settings import DataSettings
from h2rec.engines import Engine
from h2rec.files import atomic_path
from h2rec.frames import note_of, scan_parquet, write_parquet

ROWS_A_PART = 2_000_000
"""Rows that are read at once, and about as many of a bucket are sorted at once."""

_NOTE = "h2rec.counts"
"""What was counted in a part or bucket, in the footer of its file: so both appear at once."""


def prepare_by_parts(
    settings: DataSettings,
    interactions: Table,
    items: Table | None,
    engine: Engine,
    work: Path,
    *,
    rows_a_part: int = ROWS_A_PART,
) -> Dataset:
    """Prepare a table of Parquet files as `prepare_tables` does, with the same result.

    `work`: folder of finished parts, of this input and these settings alone. Raises `DataError` as `prepare_tables`.
    """
    work.mkdir(parents=True, exist_ok=True)
    report: Report = {}
    reading = Reading.of(
        interactions, settings.columns, min_rating=settings.min_rating, time_format=settings.time_format
    )
    count = max(1, -(-interactions.rows // rows_a_part))
    parts = _parts(interactions, rows_a_part)
    read = _Read(
        work, _columns(reading), reading.expressions, reading.time is not None, reading.min_rating, count
    )
    counts = sum(engine.map(read, parts), Counts())
    per_second = reading.judge(counts, report)
    sort = _Sort(
        work,
        tuple(read.target(part) for part in parts),
        per_second if reading.time is not None else None,
        keeps_rows=settings.k_core is not None,
    )
    found = np.array(list(engine.map(sort, range(count)))).sum(axis=0)
    if reading.time is not None:
        count_repeats(report, *map(int, found))
    buckets = Buckets(work, count)
    look_at_ids(buckets.users["id"], buckets.items["id"], report)
    check_any_left(interactions, len(buckets.users), report)
    check_split(settings, interactions, report)
    if settings.k_core is not None:
        buckets.cut_to_core(settings.k_core, report)
    return assembled(
        settings,
        interactions,
        items,
        report,
        user_ids=buckets.user_ids,
        seen_ids=buckets.seen_ids,
        place=buckets.placed,
    )


@dataclass(frozen=True)
class _Part:
    """Rows of one file."""

    file: Path
    start: int
    rows: int
    before: int
    """Rows of the table before these."""


def _parts(table: Table, rows_a_part: int) -> list[_Part]:
    return [
        _Part(file.absolute(), start, min(rows_a_part, end - before - start), before + start)
        for file, before, end in zip(table.files, table.starts, table.starts[1:], strict=False)
        for start in range(0, end - before, rows_a_part)
    ]


def _columns(reading: Reading) -> tuple[str, ...]:
    return tuple(
        sorted({name for expression in reading.expressions for name in expression.meta.root_names()})
    )


@dataclass(frozen=True)
class _Read:
    """Reads and cleans a part of the rows, and writes them as a row group for each bucket."""

    work: Path
    columns: tuple[str, ...]
    expressions: tuple[pl.Expr, ...]
    timed: bool
    min_rating: float | None
    buckets: int

    def target(self, part: _Part) -> Path:
        return self.work / f"rows-{part.before:012}.parquet"

    def __call__(self, part: _Part) -> Counts:
        target = self.target(part)
        if (note := note_of(target, _NOTE)) is not None:
            return Counts.parse(json.loads(note))

        def typed() -> pl.LazyFrame:
            return scan_parquet(part.file).slice(part.start, part.rows).select(self.columns)

        table = typed_table(part.file, typed)
        rows = table.collect(table.scan().select(self.expressions)).with_row_index("row", offset=part.before)
        rows = rows.with_columns(pl.col("row").cast(pl.Int64))
        if not self.timed:
            rows = rows.with_columns(pl.col("row").cast(pl.Float64).alias("time"))
        rows, counts = clean(rows, self.min_rating)
        # One version of Polars has one hash, whatever the machine.
        rows = rows.with_columns((pl.col("user").hash(0) % self.buckets).alias("bucket"))
        rows = rows.sort("bucket", maintain_order=True)
        ends = np.cumsum(np.bincount(rows["bucket"].to_numpy(), minlength=self.buckets)).tolist()
        data = rows.drop("bucket").to_arrow(compat_level=pl.CompatLevel.oldest())
        with atomic_path(target) as temporary, pq.ParquetWriter(temporary, data.schema) as writer:
            for start, end in zip([0, *ends], ends, strict=False):
                writer.write_table(data.slice(start, end - start), row_group_size=max(1, end - start))
            writer.add_key_value_metadata({_NOTE: json.dumps(counts.as_json())})
        return counts


@dataclass(frozen=True)
class _Sort:
    """Drops what stands twice in a bucket, and puts its rows in the order of users and times.

    `per_second`: how many of the times' unit a second has; None without times, where no row stands twice.
    """

    work: Path
    parts: Sequence[Path]
    per_second: float | None
    keeps_rows: bool

    def __call__(self, bucket: int) -> tuple[int, int]:
        """Return how many rows have the user and time of one before, and how many are such a one again."""
        target = bucket_file(self.work, bucket, "rows")
        if (note := note_of(target, _NOTE)) is not None:
            at_once, repeated = json.loads(note)
            return at_once, repeated
        rows = pa.concat_tables([pq.ParquetFile(part).read_row_group(bucket) for part in self.parts])
        codes = {name: rows[name].combine_chunks().dictionary_encode() for name in ("user", "item")}
        ids = {name: pl.Series("id", coded.dictionary, pl.String) for name, coded in codes.items()}
        user, item = (codes[name].indices.to_numpy() for name in ("user", "item"))
        columns = {name: rows[name].to_numpy() for name in rows.column_names if name not in codes}
        del rows, codes
        at_once = repeated = 0
        if self.per_second is not None:
            columns["time"] = columns["time"] / self.per_second
            first, at_once = first_of_each(user, item, columns["time"])
            repeated = int(np.count_nonzero(~first))
            user, item = user[first], item[first]
            columns = {name: values[first] for name, values in columns.items()}
        # Ids are numbered by their first appearance, which is never a row that stands there already.
        events = pl.Series("events", np.bincount(user, minlength=len(ids["user"])), pl.Int64)
        for name, numbers in (("user", user), ("item", item)):
            seen = pl.Series("first", columns["row"][_first_places(numbers)], pl.Int64)
            described = [ids[name], seen, *([events] if name == "user" else [])]
            with atomic_path(bucket_file(self.work, bucket, f"{name}s")) as temporary:
                write_parquet(pl.DataFrame(described), temporary)
        if not self.keeps_rows:
            del columns["row"]
        order = np.lexsort((columns["time"], user))  # stable: ties keep the order of the rows
        ordered = pl.DataFrame(
            {"item": item[order]} | {name: values[order] for name, values in columns.items()}
        )
        with atomic_path(target) as temporary:
            write_parquet(ordered, temporary, notes={_NOTE: json.dumps([at_once, repeated])})
        return at_once, repeated


def _first_places(codes: IntArray) -> IntArray:
    """Where each of some codes, numbered by first appearance, appears first."""
    largest = np.maximum.accumulate(codes)
    return np.flatnonzero(np.diff(largest, prepend=-1))
