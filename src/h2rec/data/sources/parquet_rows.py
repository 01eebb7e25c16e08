"""Rows made in Python, written to Parquet in blocks."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.files import atomic_path

_ROWS_A_BLOCK = 50_000


def write_rows(path: Path, columns: dict[str, pa.DataType], rows: Iterable[tuple[Any, ...]]) -> Path:
    """Write rows, atomically and never more than a block of them in memory.

    `columns`: names and Arrow types, in the order of the rows' values.
    """
    schema = pa.schema(list(columns.items()))
    iterator: Iterator[tuple[Any, ...]] = iter(rows)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary.absolute(), schema, compression="zstd") as writer,
    ):
        while block := list(islice(iterator, _ROWS_A_BLOCK)):
            arrays = [
                pa.array(values, kind)
                for values, kind in zip(zip(*block, strict=True), columns.values(), strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return path
