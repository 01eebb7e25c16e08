"""Files of answers: the ending of the name decides the format."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.errors import DataError
from h2rec.retrieval.answers import Recommendation

RESULT_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("items", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("unknown", pa.list_(pa.string())),
        ("from_popularity", pa.bool_()),
    ]
)
"""Columns of a Parquet file of results, one row a user, best item first; a JSON line has the same names."""
CSV_COLUMNS = ("user_id", "rank", "item_id", "score", "from_popularity")
"""Columns of a CSV file of results, one row a recommended item."""

ENDINGS = (".parquet", ".csv", ".jsonl")

Write = Callable[[list[str], list[Recommendation]], int]
"""Writes the answers of some users and returns the rows that they made."""


def check_ending(target: Path) -> None:
    """Refuse a name whose ending tells no format of results. Raises `DataError`, naming the endings that do."""
    if target.suffix.lower() not in ENDINGS:
        raise DataError(
            f"{target}: the ending tells the format of the results, and '{target.suffix}' is none",
            f"name it with one of {', '.join(ENDINGS)}",
        )


def holds_answers(path: Path) -> bool:
    """Whether a file is one of results, by its columns: it may be written anew."""
    try:
        if path.suffix.lower() == ".parquet":
            return bool(pq.read_schema(path.absolute()).equals(RESULT_SCHEMA))
        with path.open(encoding="utf-8") as stream:
            first = stream.readline()
        if path.suffix.lower() == ".csv":
            return first.rstrip("\n") == ",".join(CSV_COLUMNS)
        return not first or list(json.loads(first)) == RESULT_SCHEMA.names
    except (pa.ArrowException, OSError, ValueError):
        return False


@contextmanager
def result_writer(path: Path, ending: str) -> Iterator[Write]:
    """Open a file of results at `path`, in the format that `ending` tells."""
    if ending.lower() == ".parquet":
        with pq.ParquetWriter(path, RESULT_SCHEMA) as writer:
            yield lambda users, answers: _write_table(writer, users, answers)
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        if ending.lower() == ".csv":
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(CSV_COLUMNS)
            yield lambda users, answers: _write_rows(rows, users, answers)
        else:
            yield lambda users, answers: _write_lines(stream, users, answers)


def _values(user: str, answer: Recommendation) -> dict[str, Any]:
    return {
        "user_id": user,
        "items": [item.item_id for item in answer.items],
        "scores": [item.score for item in answer.items],
        "unknown": answer.unknown,
        "from_popularity": answer.from_popularity,
    }


def _write_table(writer: pq.ParquetWriter, users: list[str], answers: list[Recommendation]) -> int:
    rows = [_values(user, answer) for user, answer in zip(users, answers, strict=True)]
    writer.write_table(pa.Table.from_pylist(rows, schema=RESULT_SCHEMA))
    return len(rows)


def _write_lines(stream: Any, users: list[str], answers: list[Recommendation]) -> int:
    for user, answer in zip(users, answers, strict=True):
        stream.write(json.dumps(_values(user, answer), ensure_ascii=False, allow_nan=False) + "\n")
    return len(users)


def _write_rows(rows: Any, users: list[str], answers: list[Recommendation]) -> int:
    count = 0
    for user, answer in zip(users, answers, strict=True):
        for rank, item in enumerate(answer.items, 1):
            rows.writerow((user, rank, item.item_id, item.score, str(answer.from_popularity).lower()))
        count += len(answer.items)
    return count
