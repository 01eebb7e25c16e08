"""JSON lines: one object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from h2rec.data.readers.lines import numbered_lines
from h2rec.data.readers.table import Record, Table
from h2rec.data.readers.text_values import as_text
from h2rec.errors import DataError

_HINT = "every line must hold one whole JSON object"


def open_json_lines(path: Path) -> Table:
    """Open JSON lines; the columns are the keys of all objects, lists become text joined by commas.

    Raises
    ------
    DataError
        If the file is empty or a line is not a JSON object; the line is named.
    """
    try:
        found = pl.scan_ndjson(path, infer_schema_length=None).collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        if not sum(1 for _ in json_records(path)):  # raises where a line is broken
            raise DataError(f"{path}: the file is empty", _HINT) from None
        raise DataError(f"{path}: can't be read ({str(error).partition(chr(10))[0]})") from None
    # A scalar is read as the text that stands in the file: ids keep their form, whatever their type.
    schema = {name: kind if isinstance(kind, pl.List) else pl.String() for name, kind in found.items()}

    def scan() -> pl.LazyFrame:
        frame = pl.scan_ndjson(path, schema=schema)
        return frame.select(as_text(pl.col(name), kind).alias(name) for name, kind in schema.items())

    return Table(path, tuple(schema), scan=scan, records=lambda: json_records(path))


def json_records(path: Path) -> Iterator[Record]:
    """Yield every object with its line; blank lines are passed over.

    Raises
    ------
    DataError
        If a line is not a JSON object.
    """
    for number, text in numbered_lines(path):
        if text.strip():
            yield number, {key: _plain(value) for key, value in json_object(path, number, text).items()}


def json_object(path: Path, number: int, text: str) -> dict[str, Any]:
    """Parse one line.

    Raises
    ------
    DataError
        If it is not a JSON object.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{path}:{number}: not valid JSON ({error.msg}, column {error.colno})"
        raise DataError(message, _HINT) from None
    except (RecursionError, ValueError) as error:  # nested without end, or a number of thousands of digits
        raise DataError(f"{path}:{number}: no JSON that can be read ({error})", _HINT) from None
    if not isinstance(value, dict):
        raise DataError(
            f"{path}:{number}: a JSON {type(value).__name__} where an object is expected",
            "write one object a line; a JSON array becomes lines with: jq -c '.[]'",
        )
    return value


def _plain(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
