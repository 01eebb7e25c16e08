"""JSON lines: one object a line."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from h2rec.data.readers.lines import numbered_lines
from h2rec.data.readers.table import Record, Table
from h2rec.errors import DataError

_HINT = "every line must hold one whole JSON object"
_ROWS_AT_ONCE = 20_000
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def open_json_lines(path: Path) -> Table:
    """Open JSON lines; the columns are the keys of all objects, in the order of their first appearance.

    Scalars are read as the text that stands in the file (whole floats without `.0`), lists are joined by
    ", ", objects stay JSON, NaN and infinity are null.

    Raises `DataError` if the file is empty or a line is not a JSON object; the line is named.
    """
    columns: dict[str, None] = {}
    lists: set[str] = set()
    for _, values in _objects(path):
        columns.update(dict.fromkeys(values))
        lists.update(key for key, value in values.items() if isinstance(value, list))
    if not columns:
        raise DataError(f"{path}: the file is empty", _HINT)
    names = tuple(columns)
    return Table(
        path,
        names,
        scan=lambda: _scan(path, names),
        records=lambda: json_records(path),
        lists=frozenset(lists),
    )


def json_records(path: Path) -> Iterator[Record]:
    """Yield every object with its line, values as text; blank lines are passed over.

    Raises `DataError` if a line is not a JSON object.
    """
    for number, values in _objects(path):
        yield number, {key: _text(value) for key, value in values.items()}


def json_object(path: Path, number: int, text: str) -> dict[str, Any]:
    """Parse one line. Raises `DataError` if it is not a JSON object."""
    try:
        value = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        message = f"{path}:{number}: not valid JSON ({error.msg}, column {error.colno})"
        raise DataError(message, _HINT) from None
    except _KeyTwiceError as error:
        raise DataError(f"{path}:{number}: {error}", "name one of the two anew") from None
    except UnicodeEncodeError:
        raise DataError(f"{path}:{number}: half of a surrogate pair, which is no character") from None
    except (RecursionError, ValueError) as error:  # nested without end, or a number of thousands of digits
        raise DataError(f"{path}:{number}: no JSON that can be read ({error})", _HINT) from None
    if not isinstance(value, dict):
        raise DataError(
            f"{path}:{number}: a JSON {type(value).__name__} where an object is expected",
            "write one object a line; a JSON array becomes lines with: jq -c '.[]'",
        )
    return value


class _KeyTwiceError(ValueError):
    """An object with a key twice; other JSON readers silently keep the last value."""


class _Float(float):
    """A number that knows how it was written: ids keep their form."""

    text: str

    def __new__(cls, text: str) -> "_Float":
        number = super().__new__(cls, text)
        number.text = text.removesuffix(".0")
        return number


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _KeyTwiceError(f"the key '{twice}' stands twice")
    return values


# NaN and infinity are no JSON, but pandas and Python write them for nothing.
_DECODER = json.JSONDecoder(parse_float=_Float, parse_constant=lambda _: None, object_pairs_hook=_keys_once)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, text in numbered_lines(path):
        if text.strip():
            yield number, json_object(path, number, text)


def _scan(path: Path, names: tuple[str, ...]) -> pl.LazyFrame:
    # Not Polars' own reader: of objects of many keys it forgets the order, it refuses NaN, and it writes
    # numbers anew.
    def batches(
        wanted: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del batch_size
        chosen = list(names) if wanted is None else wanted
        objects = islice((values for _, values in _objects(path)), n_rows)
        while block := list(islice(objects, _ROWS_AT_ONCE)):
            texts = {name: [_text(values.get(name)) for values in block] for name in chosen}
            frame = pl.DataFrame(texts, schema=dict.fromkeys(chosen, pl.String))
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(batches, schema=dict.fromkeys(names, pl.String()))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, _Float):
        return value.text
    if isinstance(value, list):
        return ", ".join(text for text in map(_text, value) if text is not None)
    return json.dumps(value, ensure_ascii=False)
