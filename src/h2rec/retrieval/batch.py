"""Recommendations for a file of histories or of events, in batches."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from h2rec.claims import claim_file
from h2rec.errors import DataError
from h2rec.files import atomic_path
from h2rec.retrieval.answers import IdLists, Query, checked_k
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.history_files import Batch, HistoryFile, open_histories
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
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Users a second."""
        return self.users / self.seconds if self.seconds else 0.0

    def add(self, other: "BatchReport") -> None:
        """Count in what a run over another file came across."""
        for field in fields(BatchReport):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def count(self, queries: list[Query], answers: IdLists) -> None:
        """Count some answers to questions in."""
        asked = np.array([query.k for query in queries], dtype=np.int64)
        self.short += int((np.diff(answers.offsets) < asked).sum())
        self.users += len(queries)
        self.from_popularity += sum(answers.from_popularity)
        self.unknown += sum(map(len, answers.unknown))


def recommend_file(
    recommender: Recommender,
    source: Path | HistoryFile,
    target: Path,
    k: int = 10,
    *,
    filter: ItemFilter = ANY_ITEM,
    tail_share: float | None = None,
    advance: Callable[..., None] | None = None,
    notes: Mapping[str, str] | None = None,
) -> BatchReport:
    """Answer every user of a file, in its order, into another file, which appears when it is whole.

    Parameters
    ----------
    source
        Histories or events; see `history_files.open_histories`.
    target
        Columns as in `results.RESULT_SCHEMA`, or `results.CSV_COLUMNS`.
    k
        How many items, for all whose row does not say.
    advance
        Called with the number of users done.
    notes
        Texts for the footer of a Parquet file.

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
    histories_of = (
        open_histories(path, known=recommender.bundle.manifest.columns)
        if isinstance(source, Path)
        else source
    )
    report = BatchReport()
    done, began = 0, time.perf_counter()
    with atomic_path(target) as temporary, result_writer(temporary, target.suffix, notes) as write:
        for batch in histories_of.batches():
            wanted = _numbers(batch, k, path, done)
            queries = [
                Query(history, number, filter, tail_share)
                for history, number in zip(batch.histories, wanted, strict=True)
            ]
            answers = recommender.id_lists(queries)
            report.count(queries, answers)
            report.missing += batch.missing
            report.rows += write(batch.users, answers)
            done += len(batch.users)
            if advance is not None:
                advance(len(batch.users))
    report.seconds += time.perf_counter() - began
    return report


def _numbers(batch: Batch, k: int, path: Path, done: int) -> list[int]:
    """How many items each user is to have; `done`: rows before these.

    Raises `DataError`, naming the row, where that is no whole number above zero.
    """
    if batch.counts is None:
        return [k] * len(batch.users)
    numbers = []
    for row, value in enumerate(batch.counts, done + 1):
        try:
            # pandas makes floats of whole numbers with gaps; True would be taken for 1.
            whole = int(value) if type(value) is float and value.is_integer() else value
            numbers.append(k if value is None else checked_k(str(value) if type(value) is bool else whole))
        except DataError as error:
            raise DataError(f"{path}, row {row}: {error.message}", "leave it out (null) for --k") from None
    return numbers


def claim_target(source: Path, target: Path) -> None:
    """Refuse to write answers over anything but answers.

    Raises `H2RecError` if the target is there and holds something else, or is the source.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError(
            f"{target}: is the file of the histories, and would be overwritten", "name another file"
        )
    claim_file(target, holds_answers)
