"""Results of a suite in one Parquet file, a row a figure; facts that hold once are in the first row."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from h2rec.errors import DataError
from h2rec.files import atomic_path
from h2rec.frames import read_parquet, write_parquet

RESULTS_FILE = "results.parquet"
"""Name of the file in a suite's folder."""


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write the results of `evidence`, a row a record of its lists of records, which the column ``table`` names.

    Texts and numbers that many records have are columns of their own; all else of a record is JSON in the column
    ``facts``, and so is, in the first row, whatever is no list of records.
    """
    tables = {
        name: part
        for name, part in results.items()
        if isinstance(part, list) and part and isinstance(part[0], dict)
    }
    records = [record for part in tables.values() for record in part]
    held = Counter(name for record in records for name in record)
    columns = [
        name for name, count in held.items() if count >= len(records) / 10 and _is_plain(name, records)
    ]
    rows: list[Mapping[str, Any]] = [
        {"table": "suite", "facts": _json({name: results[name] for name in results if name not in tables})}
    ]
    for table, part in tables.items():
        for record in part:
            plain = {name: record[name] for name in columns if record.get(name) is not None}
            facts = {name: value for name, value in record.items() if name not in plain}
            rows.append({"table": table, **plain, "facts": _json(facts) if facts else None})
    frame = pl.DataFrame(rows, schema=["table", *columns, "facts"], infer_schema_length=None)
    with atomic_path(path) as temporary:
        write_parquet(frame, temporary, small=True)


def read_results(path: Path) -> dict[str, Any]:
    """Read what `write_results` wrote, equal to what it was given.

    Raises `DataError` if the file is missing or not a suite's results.
    """
    try:
        first, *rows = read_parquet(path).iter_rows(named=True)
        results: dict[str, Any] = json.loads(first["facts"])
        for row in rows:
            facts = json.loads(row.pop("facts") or "{}")
            plain = {name: value for name, value in row.items() if value is not None}
            results.setdefault(plain.pop("table"), []).append(plain | facts)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: not the results of a suite ({error})") from None
    return results


def _is_plain(name: str, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all that have a value have one of the same plain type."""
    return {type(record[name]) for record in records if record.get(name) is not None} in (
        {str},
        {int},
        {float},
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
