"""The item table of a bundle, read with bounds: a small file may claim, or hide, a very large table."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from h2rec.errors import DataError
from h2rec.frames import read_parquet
from h2rec.retrieval.parquet_pages import chunk_pages

OWN_COLUMNS = ("item_id", "train_count", "head")
"""Columns of a bundle's item table that are no text fields."""

_KINDS = {"train_count": ("INT64", pl.Int64), "head": ("BOOLEAN", pl.Boolean)}
_TEXT = ("BYTE_ARRAY", pl.String)
_ROWS_AT_ONCE = 4096


def read_item_table(path: Path, rows: int, room: int) -> pl.DataFrame:
    """Read and check `items.parquet`.

    `rows`: how many items the bundle's other files have. `room`: bytes that the table may take when nothing in it
    is compressed or shared. Raises `DataError` if it claims other rows, or more bytes; if columns have other types;
    if ids are missing or stand twice, counts or head marks are missing, or a count is negative.
    """
    with pa.memory_map(str(path)) as mapped:
        data = mapped.read_buffer()
        _check_claims(path, pq.ParquetFile(pa.BufferReader(data)), memoryview(data).cast("B"), rows, room)
        _check_lengths(path, data, room)
    items = read_parquet(path)
    expected = {name: kind for name, (_, kind) in _KINDS.items()} | {"item_id": pl.String}
    for name, kind in (dict.fromkeys(items.columns, pl.String) | expected).items():
        if items.schema.get(name) != kind:
            raise DataError(f"{path}: column '{name[:80]}' is {items.schema.get(name)}, not {kind}")
    own = items.select(OWN_COLUMNS)
    if items.height != rows or own.null_count().sum_horizontal()[0] or own["item_id"].n_unique() != rows:
        raise DataError(f"{path}: ids, counts or head marks are missing or not unique")
    if (own["train_count"] < 0).any():
        raise DataError(f"{path}: a count of training interactions is negative")
    return items


def _check_claims(path: Path, file: pq.ParquetFile, data: memoryview, rows: int, room: int) -> None:
    """Hold footer and page headers against the number of items and the room."""
    footer = file.metadata
    if footer.num_rows != rows:
        raise DataError(f"{path}: the item table and the item vectors differ in length")
    names = set(file.schema_arrow.names)
    for place in range(footer.num_columns):
        column = file.schema.column(place)
        wanted, _ = _KINDS.get(column.path, _TEXT)
        # Parquet joins the names of nested columns by dots; a name may have dots of its own.
        nested = column.max_repetition_level or column.path not in names
        if nested or column.physical_type != wanted:
            raise DataError(f"{path}: column '{column.path[:80]}' is no column of an item table")
    claimed = 0
    for group in map(footer.row_group, range(footer.num_row_groups)):
        rows -= group.num_rows
        for chunk in map(group.column, range(group.num_columns)):
            starts = [chunk.data_page_offset]
            if chunk.dictionary_page_offset is not None:
                starts.append(chunk.dictionary_page_offset)
            first = min(starts)
            pages = chunk_pages(data, first, first + chunk.total_compressed_size)
            claimed += pages.uncompressed
            if pages.values != group.num_rows or chunk.num_values != group.num_rows or group.num_rows < 0:
                raise DataError(f"{path}: its pages hold other rows than it claims")
            if claimed > room:
                raise DataError(f"{path}: it claims more bytes than a bundle of this size can have")
    if rows:
        raise DataError(f"{path}: its parts hold other rows than it claims")


def _check_lengths(path: Path, data: pa.Buffer, room: int) -> None:
    """Add up the texts as if each row had its own: one long text may stand for all rows."""
    texts = [name for name in pq.read_schema(pa.BufferReader(data)).names if name not in _KINDS]
    # As dictionaries, so that a text that many rows share is decoded once.
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
    left = room
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=texts):
        left -= sum(map(_bytes_of, batch.columns))
        if left < 0:
            raise DataError(f"{path}: its texts are longer than those of a bundle of this size can be")


def _bytes_of(column: pa.Array) -> int:
    if pa.types.is_dictionary(column.type):
        # In Arrow all the way: a conversion to numpy would import pandas, which takes longer than the bundle.
        lengths = pc.cast(pc.binary_length(column.dictionary), pa.int64())
        return int(pc.sum(lengths.take(column.indices)).as_py() or 0)
    return int(pc.sum(pc.binary_length(column)).as_py() or 0)
