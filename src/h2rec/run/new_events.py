"""New interactions, read as those were that a bundle was trained on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from h2rec.data.interactions import FILE_ORDER, Report, read_interactions
from h2rec.data.readers import Table
from h2rec.data.settings import ColumnSettings
from h2rec.errors import BundleError, ConfigError, DataError
from h2rec.losses.settings import LossSettings
from h2rec.retrieval.log import TrainingLog
from h2rec.settings import Settings
from h2rec.training.settings import TrainSettings

_CLOCK = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_DAY = 86_400.0


class Learned(Settings):
    """How a bundled model was fully trained, and its data read; `log/learning.json` of its bundle."""

    loss: LossSettings
    train: TrainSettings
    epochs: int
    """Epochs of the full training."""
    head_share: float
    time_order: str
    """What the times of events are: which column, in which unit, or the order of the file."""
    columns: ColumnSettings
    separator: str | None
    time_format: str | None
    min_rating: float | None
    """As in the settings `data` of the run."""


def learned_of(log: TrainingLog, folder: Path) -> Learned:
    """How the model of a bundle was trained. Raises `BundleError` if its log does not tell."""
    try:
        return Learned.parse(log.learning, source=f"{folder}: the log of its training")
    except ConfigError as error:
        raise BundleError(error.message, error.hint) from None


@dataclass(frozen=True, eq=False)
class NewEvents:
    """Interactions as they were read."""

    rows: pl.DataFrame
    """`user`, `item` (ids, texts) and `time`, in the order of the file."""
    time_order: str
    """What the times are; see `Learned.time_order`."""
    report: Report
    """What reading came across."""

    def timed(self, learned: Learned, *, after: float, now: float | None = None) -> pl.DataFrame:
        """The rows with times of the kind that the bundle knows.

        `after`: the latest time known. `now`: what is a day later is refused; None for the clock's time. Raises
        `DataError` if the times are of another kind, or lie in the future.
        """
        if learned.time_order == FILE_ORDER:
            # No times to compare: what comes now comes after what is known.
            rows = self.rows.sort("time", maintain_order=True)
            return rows.with_columns(time=max(after, -1.0) + 1 + pl.int_range(rows.height))
        if self.time_order == FILE_ORDER:
            raise DataError(
                f"the interactions have no times; the bundle's have ({learned.time_order})",
                "name their column with --timestamp",
            )
        has_clock = [
            any(f"({unit})" in order for unit in _CLOCK) for order in (learned.time_order, self.time_order)
        ]
        if has_clock[0] != has_clock[1]:
            raise DataError(
                f"times are not of one kind: here {self.time_order}, in the bundle {learned.time_order}"
            )
        limit = _DAY + (datetime.now(UTC).timestamp() if now is None else now)
        future = self.rows.filter(pl.col("time") > limit)
        if has_clock[0] and future.height:
            first = future.row(0, named=True)
            raise DataError(
                f"{future.height:,} interactions lie in the future, the first one of user {first['user']} and item "
                f"{first['item']}, at {_date(first['time'])}",
                "check the unit and the form of the times; --time-format tells how they are written",
            )
        return self.rows


def read_events(
    table: Table, learned: Learned, columns: ColumnSettings, *, time_format: str | None = None
) -> NewEvents:
    """Read new interactions, with the columns that the run's settings named, and the lowest rating that they kept.

    `columns`, `time_format`: what is told here comes first. Raises `DataError` as `read_interactions` does.
    """
    report: Report = {}
    rows = read_interactions(
        table.knowing(learned.columns.model_dump()),
        columns,
        report,
        min_rating=learned.min_rating,
        time_format=time_format or learned.time_format,
    )
    rows = rows.select(pl.col("user", "item").cast(pl.String), "time")
    return NewEvents(rows, str(report["time_order"]), report)


def _date(seconds: Any) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:,.0f} seconds after 1970"
