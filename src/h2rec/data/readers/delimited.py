"""Tables with a separator: CSV and TSV, quoted or not."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
from polars.io.plugins import register_io_source

from h2rec.data.readers.lines import numbered_lines
from h2rec.data.readers.table import Record, Table
from h2rec.errors import DataError

_BLOCK_BYTES = 1 << 22


def open_csv(path: Path) -> Table:
    """Open a comma-separated file with a header line; fields may be quoted."""
    return _open_plain(path, ",")


def open_tsv(path: Path) -> Table:
    """Open a tab-separated file with a header line; fields may be quoted."""
    return _open_plain(path, "\t")


def _open_plain(path: Path, separator: str) -> Table:
    fields, lines = header(path, separator, quoted=True)
    return open_delimited(path, [name.strip() for name in fields], lines, separator=separator, quoted=True)


def open_delimited(
    path: Path, names: Sequence[str], header_lines: int, *, separator: str, quoted: bool
) -> Table:
    """Open a file whose header is already understood.

    Columns without a name are not part of the table.

    Raises
    ------
    DataError
        If a name occurs twice.
    """
    columns = tuple(name for name in names if name)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}:1: column '{twice}' occurs twice", "rename one of the two")
    return Table(
        path,
        columns,
        scan=lambda: _scan(path, names, header_lines, separator, quoted),
        records=lambda: _records(path, names, separator, quoted),
    )


def header(path: Path, separator: str, *, quoted: bool) -> tuple[list[str], int]:
    """Return the fields of the first line that is not blank, and the number of lines up to its end.

    Raises
    ------
    DataError
        If there is no such line.
    """
    for _, last_line, fields in _numbered_fields(path, separator, quoted):
        return fields, last_line
    raise DataError(f"{path}: the file is empty", "the first line must name the columns")


def _scan(path: Path, names: Sequence[str], header_lines: int, separator: str, quoted: bool) -> pl.LazyFrame:
    # PyArrow's reader, not Polars' own: it is strict about the number of fields in every row, also
    # where only some columns are read, and it streams gzip.
    columns = [name for name in names if name]
    read_options = arrow_csv.ReadOptions(
        column_names=[name or f"unnamed column {position}" for position, name in enumerate(names)],
        skip_rows=header_lines,
        block_size=_BLOCK_BYTES,
    )
    parse_options = arrow_csv.ParseOptions(
        delimiter=separator, quote_char='"' if quoted else False, newlines_in_values=quoted
    )

    def batches(
        wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del batch_size  # a hint that PyArrow's block size stands for
        convert_options = arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=wanted if wanted is not None else columns,
            strings_can_be_null=False,
        )
        with pa.input_stream(str(path)) as stream:
            reader = arrow_csv.open_csv(stream, read_options, parse_options, convert_options)
            left = n_rows
            for batch in reader:
                frame: Any = pl.from_arrow(batch)
                if left is not None:
                    frame = frame.head(left)
                    left -= frame.height
                yield frame if predicate is None else frame.filter(predicate)
                if left == 0:
                    return

    return register_io_source(batches, schema=dict.fromkeys(columns, pl.String()))


def _records(path: Path, names: Sequence[str], separator: str, quoted: bool) -> Iterator[Record]:
    rows = _numbered_fields(path, separator, quoted)
    next(rows)
    for line, _, fields in rows:
        if len(fields) != len(names):
            raise DataError(
                f"{path}:{line}: {len(fields)} fields, but the header names {len(names)} columns",
                "a row was cut short, or a field holds the separator; mend the row or take it out",
            )
        yield line, dict(zip(names, fields, strict=True))


def _numbered_fields(path: Path, separator: str, quoted: bool) -> Iterator[tuple[int, int, list[str]]]:
    """Yield first line, last line and fields of every record that is not blank."""
    lines = (text for _, text in numbered_lines(path))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=separator, quoting=quoting)
    first_line = 1
    try:
        for fields in reader:
            if fields:
                yield first_line, reader.line_num, fields
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{first_line}: {error}", "look for a quote that is not closed") from None
