"""Recommendations for a file of histories or of events, in batches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from h2rec.claims import claim_file
from h2rec.errors import DataError
from h2rec.files import atomic_path
from h2rec.retrieval.answers import Query, Recommendation
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.history_files import HistoryFile, open_histories
from h2rec.retrieval.recommender import Recommender
from h2rec.retrieval.results import check_ending, holds_answers, result_writer


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
    source: Path | HistoryFile,
    target: Path,
    k: int = 10,
    *,
    filter: ItemFilter = ANY_ITEM,
    tail_share: float | None = None,
    advance: Callable[..., None] | None = None,
) -> BatchReport:
    """Answer every user of a file, in its order, into another file, which appears when it is whole.

    Parameters
    ----------
    source
        Histories or events; see `history_files.open_histories`.
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
    path = source if isinstance(source, Path) else source.path
    claim_target(path, target)
    histories_of = open_histories(path) if isinstance(source, Path) else source
    report = BatchReport()
    with atomic_path(target) as temporary, result_writer(temporary, target.suffix) as write:
        for users, histories, missing in histories_of.batches():
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
