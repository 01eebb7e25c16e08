"""Files of answers: the ending of the name decides the format."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.errors import DataError
from h2rec.retrieval.answers import IdLists

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

Write = Callable[[list[str], IdLists], int]
"""Writes the answers of some users and returns the rows that they made."""

_ENTRIES_AT_ONCE = 1 << 19
"""Of a Parquet file's row groups: each costs memory until the file is closed, and so does what waits for one."""


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
def result_writer(path: Path, ending: str, notes: Mapping[str, str] | None = None) -> Iterator[Write]:
    """Open a file of results at `path`, in the format that `ending` tells; `notes` stand in a Parquet footer."""
    if ending.lower() == ".parquet":
        with pq.ParquetWriter(path, RESULT_SCHEMA.with_metadata(notes)) as writer:
            groups = _Groups(writer)
            yield groups.write
            groups.flush()
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        if ending.lower() == ".csv":
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(CSV_COLUMNS)
            yield lambda users, answers: _write_rows(rows, users, answers)
        else:
            yield lambda users, answers: _write_lines(stream, users, answers)


class _Groups:
    """Collects answers into row groups."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._waiting: list[pa.Table] = []
        self._entries = 0

    def write(self, users: list[str], answers: IdLists) -> int:
        self._waiting.append(_table(users, answers))
        self._entries += len(answers.scores) + len(users)
        if self._entries >= _ENTRIES_AT_ONCE:
            self.flush()
        return len(users)

    def flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._entries = [], 0


def _table(users: list[str], answers: IdLists) -> pa.Table:
    ends = pa.array(answers.offsets, pa.int32())
    columns = [
        pa.array(users, pa.string()),
        pa.ListArray.from_arrays(ends, answers.item_ids),
        pa.ListArray.from_arrays(ends, pa.array(answers.scores, pa.float32())),
        pa.array(answers.unknown, pa.list_(pa.string())),
        pa.array(answers.from_popularity, pa.bool_()),
    ]
    return pa.table(columns, schema=RESULT_SCHEMA)


def _write_lines(stream: Any, users: list[str], answers: IdLists) -> int:
    for row in _table(users, answers).to_pylist():
        stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    return len(users)


def _write_rows(rows: Any, users: list[str], answers: IdLists) -> int:
    for row in _table(users, answers).to_pylist():
        for rank, (item, score) in enumerate(zip(row["items"], row["scores"], strict=True), 1):
            rows.writerow((row["user_id"], rank, item, score, str(row["from_popularity"]).lower()))
    return len(answers.scores)
