"""Tables with a separator: CSV and TSV, quoted or not."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
from polars.io.plugins import register_io_source

from h2rec.data.readers.lines import numbered_lines
from h2rec.data.readers.quotes import LONGEST_ROW, CheckedStream, QuoteCheck, check_quotes, plainly_quoted
from h2rec.data.readers.table import Record, Table
from h2rec.errors import DataError

logger = logging.getLogger(__name__)

_BLOCK_BYTES = LONGEST_ROW
_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class Dialect:
    """How a file with a separator is written."""

    separator: str
    """What stands between two fields."""
    quoted: bool
    """Whether quotes hold a field together; else they are letters."""
    lines_before: int = 0
    """Lines before the header, which are no part of the table."""


def open_csv(path: Path, separator: str | None = None) -> Table:
    """Open a comma-separated file with a header line; fields may be quoted.

    `separator`: what stands between fields; None takes the comma, or what the header alone has instead of it.
    Raises `DataError` if the file has no header line, or names a column twice.
    """
    return _open_plain(path, separator, ",")


def open_tsv(path: Path, separator: str | None = None) -> Table:
    """Open a tab-separated file with a header line, as `open_csv` does; see there.

    Quotes are letters, unless the file plainly is quoted: see `plainly_quoted`.
    """
    return _open_plain(path, separator, "\t")


def _open_plain(path: Path, wanted: str | None, usual: str) -> Table:
    lines_before, first, declared = _first_lines(path)
    separator = wanted or declared or _separator_of(path, first, usual)
    quoted = separator != "\t" or plainly_quoted(path, separator, first, lines_before + 1)
    if separator == "\t" and quoted:
        logger.info("%s: its fields are quoted, and read so", path)
    dialect = Dialect(separator, quoted, lines_before)
    fields, lines = header(path, dialect)
    if "\0" in first:
        raise DataError(f"{path}:{lines}: zero bytes between the letters", "convert it from UTF-16 to UTF-8")
    return open_delimited(path, [name.strip() for name in fields], lines, dialect)


def _first_lines(path: Path) -> tuple[int, str, str | None]:
    """Return the lines before the header, the header's line, and the separator that Excel's line tells."""
    declared = None
    for number, text in numbered_lines(path):
        excel = _SEPARATOR_LINE.fullmatch(text) if declared is None else None
        if excel is not None:
            declared = excel[1]
        elif text.strip():
            return number - 1, text, declared
    raise DataError(f"{path}: the file is empty", "the first line must name the columns")


def _separator_of(path: Path, header_line: str, usual: str) -> str:
    bare = _QUOTED.sub("", header_line)
    present = [separator for separator in _SEPARATORS if separator in bare]
    if usual in present or len(present) != 1:
        return usual
    logger.info("%s: its separator is a %s", path, _SEPARATORS[present[0]])
    return present[0]


def open_delimited(path: Path, names: Sequence[str], header_lines: int, dialect: Dialect) -> Table:
    """Open a file whose header is already understood.

    Columns without a name are not part of the table.

    Raises `DataError` if a name occurs twice.
    """
    columns = tuple(name for name in names if name)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}:{header_lines}: column '{twice}' occurs twice", "rename one of the two")
    return Table(
        path,
        columns,
        scan=lambda: _scan(path, names, header_lines, dialect),
        records=lambda: _records(path, names, header_lines, dialect),
        left_out=(f"{len(names) - len(columns)} without a name",) if len(columns) < len(names) else (),
        separator=dialect.separator,
    )


def header(path: Path, dialect: Dialect) -> tuple[list[str], int]:
    """Return the fields of the first row that is not blank, and the number of lines up to its end.

    Raises `DataError` if there is no such row.
    """
    for _, last_line, fields in _numbered_fields(path, dialect):
        return fields, last_line
    raise DataError(f"{path}: the file is empty", "the first line must name the columns")


def _scan(path: Path, names: Sequence[str], header_lines: int, dialect: Dialect) -> pl.LazyFrame:
    # PyArrow's reader, not Polars' own: it is strict about the number of fields in every row, also
    # where only some columns are read, and it streams gzip.
    columns = [name for name in names if name]
    read_options = arrow_csv.ReadOptions(
        column_names=[name or f"unnamed column {position}" for position, name in enumerate(names)],
        skip_rows=header_lines,
        block_size=_BLOCK_BYTES,
    )
    parse_options = arrow_csv.ParseOptions(
        delimiter=dialect.separator,
        quote_char='"' if dialect.quoted else False,
        newlines_in_values=dialect.quoted,
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
        with pa.input_stream(str(path.absolute())) as stream:
            # PyArrow takes any quote as it comes, and with it whole rows into one field.
            check = QuoteCheck(path, dialect.separator, len(names), header_lines)
            source = CheckedStream(stream, check) if dialect.quoted else stream
            reader = arrow_csv.open_csv(source, read_options, parse_options, convert_options)
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


def _records(path: Path, names: Sequence[str], header_lines: int, dialect: Dialect) -> Iterator[Record]:
    if dialect.quoted:
        check_quotes(path, dialect.separator, len(names), header_lines)
    rows = _numbered_fields(path, dialect)
    next(rows)
    for line, _, fields in rows:
        if len(fields) != len(names):
            raise DataError(
                f"{path}:{line}: {len(fields)} fields, but the header names {len(names)} columns",
                "a row was cut short, or a field holds the separator; mend the row or take it out",
            )
        yield line, dict(zip(names, fields, strict=True))


def _numbered_fields(path: Path, dialect: Dialect) -> Iterator[tuple[int, int, list[str]]]:
    """Yield first line, last line and fields of every row that is not blank."""
    for first, last, text in _numbered_rows(path, dialect):
        bare = text.rstrip("\r\n")
        if len(bare) > LONGEST_ROW:
            raise DataError(f"{path}:{first}: a row of more than {LONGEST_ROW:,} letters", "cut it short")
        if not dialect.quoted or '"' not in bare:
            if "\r" in bare:
                raise DataError(
                    f"{path}:{first}: a carriage return inside a line",
                    "end lines with a line feed: old Mac files become such with: tr '\\r' '\\n'",
                )
            if bare:
                yield first, last, bare.split(dialect.separator)
            continue
        check = QuoteCheck(path, dialect.separator, None, line=first)
        check.feed(text.encode())
        check.close()
        yield first, last, list(_quoted_fields(bare, dialect.separator))


def _quoted_fields(row: str, separator: str) -> Iterator[str]:
    field = re.compile(f'(?:"((?:[^"]|"")*)"|([^"{re.escape(separator)}]*)){re.escape(separator)}')
    for quoted, bare in field.findall(row + separator):
        yield quoted.replace('""', '"') or bare


def _numbered_rows(path: Path, dialect: Dialect) -> Iterator[tuple[int, int, str]]:
    """Yield first line, last line and text of every row: a line, or several where a quoted field goes on."""
    lines: list[str] = []
    first, size, inside = 1, 0, False
    for number, text in numbered_lines(path):
        if number <= dialect.lines_before:
            continue
        if not lines:
            first, size, inside = number, 0, False
        lines.append(text)
        size += len(text)
        inside ^= dialect.quoted and text.count('"') % 2 == 1
        if not inside or size > LONGEST_ROW:
            yield first, number, "".join(lines)
            lines = []
    if lines:
        yield first, first + len(lines) - 1, "".join(lines)
