"""Recommendations for a file of histories, streamed: memory does not grow with the file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from h2rec.claims import claim_file
from h2rec.errors import DataError
from h2rec.files import atomic_path
from h2rec.retrieval.answers import Query, Recommendation
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.recommender import Recommender

_ROWS_AT_ONCE = 1024

RESULT_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("items", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("unknown", pa.list_(pa.string())),
        ("from_popularity", pa.bool_()),
    ]
)
"""Columns of a file of results, one row a user, best item first."""


@dataclass
class BatchReport:
    """What a run over a file came across."""

    users: int = 0
    from_popularity: int = 0
    unknown: int = 0

    def count(self, answers: list[Recommendation]) -> None:
        """Count some answers in."""
        self.users += len(answers)
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
    """Answer every history of a Parquet file, in its order, into another one, which appears when it is whole.

    Parameters
    ----------
    source
        Columns `user_id` and `history` (a list of item ids, oldest first; null counts as empty).
    target
        Columns as in `RESULT_SCHEMA`.
    advance
        Called with the number of users done.

    Raises
    ------
    DataError
        If the file can't be read or lacks a column; the row is named where one is at fault.
    H2RecError
        If the target is there already and holds no answers.
    """
    claim_target(source, target)
    report = BatchReport()
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, RESULT_SCHEMA) as writer:
        for users, histories in _batches(source):
            queries = [Query(history, k, filter, tail_share) for history in histories]
            answers = recommender.answer(queries)
            writer.write_table(_as_table(users, answers))
            report.count(answers)
            if advance is not None:
                advance(len(users))
    return report


def claim_target(source: Path, target: Path) -> None:
    """Refuse to write answers over anything but answers.

    Raises
    ------
    H2RecError
        If the target is there and holds something else, or is the source.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError(
            f"{target}: is the file of the histories, and would be overwritten", "name another file"
        )
    claim_file(target, _holds_answers)


def _holds_answers(path: Path) -> bool:
    try:
        return bool(pq.read_schema(path).equals(RESULT_SCHEMA))
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return False


def rows_of(source: Path) -> int:
    """Rows of a Parquet file.

    Raises
    ------
    DataError
        If it is missing or no Parquet file.
    """
    return int(_open(source).metadata.num_rows)


def _open(source: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # names of columns need not be text
        raise DataError(f"{source}: not a Parquet file ({str(error).splitlines()[0]})") from None


def _batches(source: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
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
            histories = batch.column("history").cast(pa.list_(pa.string())).to_pylist()
            if None in users:
                raise DataError(f"{source}, row {done + users.index(None) + 1}: the user id is missing")
            yield users, [[item for item in history or [] if item is not None] for history in histories]
            done += len(users)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}, after row {done}: {str(error).splitlines()[0]}") from None


def _as_table(users: list[str], answers: list[Recommendation]) -> pa.Table:
    columns = {
        "user_id": users,
        "items": [[item.item_id for item in answer.items] for answer in answers],
        "scores": [[item.score for item in answer.items] for answer in answers],
        "unknown": [answer.unknown for answer in answers],
        "from_popularity": [answer.from_popularity for answer in answers],
    }
    return pa.table(columns, schema=RESULT_SCHEMA)
