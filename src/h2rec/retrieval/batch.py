"""Recommendations for a file of histories, streamed: memory does not grow with the file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.claims import claim_file
from h2rec.data.readers.text_values import as_text
from h2rec.errors import DataError
from h2rec.files import atomic_path
from h2rec.retrieval.answers import Query, Recommendation
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.recommender import Recommender
from h2rec.retrieval.results import check_ending, holds_answers, result_writer

_ROWS_AT_ONCE = 1024
_TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.null())


@dataclass
class BatchReport:
    """What a run over a file came across."""

    users: int = 0
    from_popularity: int = 0
    unknown: int = 0
    missing: int = 0
    """Entries of histories without an id."""
    short: int = 0
    """Users with fewer items than asked for, maybe none: filter and history leave no more."""
    rows: int = 0

    def count(self, answers: list[Recommendation], k: int, missing: int, rows: int) -> None:
        """Count some answers to questions for `k` items in."""
        self.short += sum(len(answer.items) < k for answer in answers)
        self.users += len(answers)
        self.missing += missing
        self.rows += rows
        self.from_popularity += sum(answer.from_popularity for answer in answers)
        self.unknown += sum(len(answer.unknown) for answer in answers)


def recommend_file(
    recommender: Recommender,
    source: Path,
    target: Path,
    k: int = 10,
    *,
    filter: ItemFilter = ANY_ITEM,
    tail_share: float | None = None,
    advance: Callable[..., None] | None = None,
) -> BatchReport:
    """Answer every history of a Parquet file, in its order, into another file, which appears when it is whole.

    Parameters
    ----------
    source
        Columns `user_id` and `history` (a list of item ids, oldest first; null counts as empty).
    target
        Columns as in `results.RESULT_SCHEMA`, or `results.CSV_COLUMNS`.
    advance
        Called with the number of users done.

    Raises
    ------
    DataError
        If the file can't be read or lacks a column; the row is named where one is at fault.
    H2RecError
        If the target is there already and holds no answers.
    """
    check_ending(target)
    claim_target(source, target)
    report = BatchReport()
    with atomic_path(target) as temporary, result_writer(temporary, target.suffix) as write:
        for users, histories, missing in _batches(source):
            queries = [Query(history, k, filter, tail_share) for history in histories]
            answers = recommender.answer(queries)
            report.count(answers, k, missing, write(users, answers))
            if advance is not None:
                advance(len(users))
    return report


def claim_target(source: Path, target: Path) -> None:
    """Refuse to write answers over anything but answers.

    Raises `H2RecError` if the target is there and holds something else, or is the source.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError(
            f"{target}: is the file of the histories, and would be overwritten", "name another file"
        )
    claim_file(target, holds_answers)


def rows_of(source: Path) -> int:
    """Rows of a Parquet file. Raises `DataError` if it is missing or no Parquet file."""
    return int(_open(source).metadata.num_rows)


def _open(source: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source.absolute())
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # names of columns need not be text
        raise DataError(f"{source}: not a Parquet file ({str(error).splitlines()[0]})") from None


def _batches(source: Path) -> Iterator[tuple[list[str], list[list[str]], int]]:
    """Users, their histories, and how many entries had no id and were left out."""
    file = _open(source)
    schema = file.schema_arrow
    wanted = "it needs 'user_id' and 'history', a list of item ids, oldest first"
    missing = [name for name in ("user_id", "history") if name not in schema.names]
    if missing:
        raise DataError(f"{source}: no column '{missing[0]}'; there are: {', '.join(schema.names)}", wanted)
    kind = schema.field("history").type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{source}: column 'history' is {kind}, not a list", wanted)
    done = 0
    try:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["user_id", "history"]):
            users = batch.column("user_id").cast(pa.string()).to_pylist()
            if None in users:
                raise DataError(f"{source}, row {done + users.index(None) + 1}: the user id is missing")
            column = _texts(batch.column("history"), kind)
            histories = [[item for item in history or [] if item] for history in column.to_list()]
            given = int(column.list.len().sum())
            yield users, histories, given - sum(map(len, histories))
            done += len(users)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}, after row {done}: {str(error).splitlines()[0]}") from None


def _texts(histories: pa.Array, kind: pa.DataType) -> pl.Series:
    """Ids as the readers of data files have them: whole numbers without `.0`, no blanks around texts."""
    inner = kind.value_type
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner) or inner in _TEXTS):
        raise pa.ArrowInvalid(f"column 'history' holds {inner}, not item ids")
    column = pl.Series("history", pl.from_arrow(histories.cast(pa.large_list(inner))))
    held = column.explode().dtype
    return column.list.eval(as_text(pl.element(), held).str.strip_chars())
