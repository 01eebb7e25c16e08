"""What every format is read as: a lazy frame of strings, and a slow pass that knows line numbers."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa

from h2rec.errors import DataError

Record = tuple[int, Mapping[str, str | None]]
"""Line (or row) number, counted from 1 as an editor does, and the values there."""

_RECORDS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Table:
    """A file that was opened: its columns are known, its rows not yet read."""

    path: Path
    """The file."""
    columns: tuple[str, ...]
    """Names of its columns, in order."""
    scan: Callable[[], pl.LazyFrame]
    """Gives all rows lazily, every column as strings; missing values are null or empty."""
    records: Callable[[], Iterator[Record]]
    """Reads the file again slowly, yields every record with its line, and raises a `DataError` that names the line
    where the file is broken."""
    unit: str = "line"
    """What `records` counts."""
    left_out: tuple[str, ...] = ()
    """Columns that are no part of the table, each with the reason."""
    separator: str | None = None
    """What stands between fields, where something does."""
    lists: frozenset[str] = frozenset()
    """Columns in which some value is a list."""
    numbers: frozenset[str] = frozenset()
    """Columns that hold numbers, where a format tells them from texts."""
    files: tuple[Path, ...] = ()
    """The Parquet files that it is made of, one after the other; none for other formats and for frames."""
    starts: tuple[int, ...] = (0,)
    """How many rows lie before each of these files, and before the end."""
    known: Mapping[str, str | None] = field(default_factory=dict)
    """Which column played a part in other files of the same origin, by part; it is obvious here, too."""

    def knowing(self, columns: Mapping[str, str | None]) -> "Table":
        """The same table, where such columns are obvious."""
        return replace(self, known=columns)

    @property
    def rows(self) -> int:
        """Rows of a table of Parquet files; 0 where only reading tells."""
        return self.starts[-1]

    def place(self, number: int) -> str:
        """Name a line (or row) of the file."""
        if len(self.files) > 1:
            file = bisect_left(self.starts, number) - 1
            return f"{self.files[file]}, {self.unit} {number - self.starts[file]}"
        return f"{self.path}:{number}" if self.unit == "line" else f"{self.path}, {self.unit} {number}"

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Run a query on this table. Raises `DataError` if the file is broken; the line is named."""
        try:
            return frame.collect(engine="streaming")
        except (
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,  # what damaged Parquet files give
            pa.ArrowException,
            OSError,
        ) as error:
            reason = str(error).partition("\n")[0]
        for _ in self.records():
            pass
        raise DataError(f"{self.path}: can't be read ({reason})")

    def first(self, column: str, condition: pl.Expr) -> tuple[str, str | None] | None:
        """Find the first row that a condition holds for; a slow pass, for errors only.

        Returns `place, value`: where it is and what `column` holds there, or None where the condition holds
        nowhere.
        """
        names = sorted({column, *condition.meta.root_names()})
        records = self.records()
        while batch := list(islice(records, _RECORDS_AT_ONCE)):
            values = {name: [record.get(name) for _, record in batch] for name in names}
            frame = pl.DataFrame(values, schema=dict.fromkeys(names, pl.String))
            rows = frame.select(condition).to_series().arg_true()
            if len(rows):
                return self.place(batch[rows[0]][0]), frame[column][rows[0]]
        return None


class Reader(ABC):
    """A format of another package; its name is the ending of the files, without the dot."""

    @classmethod
    @abstractmethod
    def open(cls, path: Path) -> Table:
        """Open a file. Raises `DataError` if it can't be understood."""


def is_missing(value: pl.Expr) -> pl.Expr:
    """Whether a string value is null, empty or blank."""
    return value.is_null() | (value.str.strip_chars() == "")
