"""Interactions read, checked and cleaned, row by row of the file, still under the file's own ids."""

import re
from dataclasses import dataclass, fields
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.columns import find_column, require_column, time_like
from h2rec.data.histories import IntArray
from h2rec.data.identifiers import doubtful, identifier, identifier_reader, names_nothing
from h2rec.data.numbers import number
from h2rec.data.readers import Table
from h2rec.data.readers.table import is_missing
from h2rec.data.settings import ColumnSettings
from h2rec.data.times import Parser, check_times, is_plainly_time, time_parser, time_sizes, time_unit
from h2rec.errors import DataError

Report = dict[str, int | str | list[str]]


FILE_ORDER = "order of the file"
"""What the report has as `time_order` where there is no time."""
WHOLE_NUMBERS = "whole numbers"
"""What the report has as `item_ids` where the data hold numbers, all of them whole."""


@dataclass
class Counts:
    """What was found in some rows; those of all parts of a table are added up."""

    rows: int = 0
    named_nothing: int = 0
    incomplete: int = 0
    """Rows without a user or item."""
    untimed: int = 0
    bad_weights: int = 0
    bad_ratings: int = 0
    low: int = 0
    """Rows below the least rating."""
    sizes: npt.NDArray[np.int64] | int = 0
    """What `time_sizes` counts."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts.parse([one + its for one, its in zip(self._values(), other._values(), strict=True)])

    def _values(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def as_json(self) -> list[Any]:
        """The counts as lists, which `parse` reads."""
        *counts, sizes = self._values()
        return [*counts, np.asarray(sizes).tolist()]

    @classmethod
    def parse(cls, values: list[Any]) -> Self:
        """Read what `as_json` gave."""
        *plain, sizes = values
        counts = cls(*plain)
        counts.sizes = np.array(sizes)
        return counts


@dataclass(frozen=True)
class Reading:
    """How the rows of a table are read: found once, and the same in all its parts."""

    table: Table
    user: str
    item: str
    time: str | None
    weight: str | None
    rating: str | None
    min_rating: float | None
    time_format: str | None
    parser: Parser | None
    expressions: tuple[pl.Expr, ...]
    """`user`, `item` (String), `named_nothing`; `time`, `rating`, `unrated` and `weight` where there are such."""

    @classmethod
    def of(
        cls, table: Table, columns: ColumnSettings, *, min_rating: float | None, time_format: str | None
    ) -> Self:
        """Find columns and forms. Raises `DataError` if that can't be done."""
        user, item, time, weight = interaction_columns(table, columns)
        rating = None if min_rating is None else require_column(table, "rating", columns.rating)
        expressions = [
            identifier_reader(table, column)(pl.col(column)).alias(part)
            for part, column in (("user", user), ("item", item))
        ]
        expressions.append((names_nothing(pl.col(user)) | names_nothing(pl.col(item))).alias("named_nothing"))
        parser = None if time is None else time_parser(table, time, time_format)
        if time is not None and parser is not None:
            expressions.append(parser(pl.col(time)).alias("time"))
        if rating is not None:
            expressions += [
                number(pl.col(rating)).alias("rating"),
                is_missing(pl.col(rating)).alias("unrated"),
            ]
        if weight is not None:
            expressions.append(number(pl.col(weight)).alias("weight"))
        return cls(
            table, user, item, time, weight, rating, min_rating, time_format, parser, tuple(expressions)
        )

    def judge(self, counts: Counts, report: Report) -> float:
        """Put into the report what was found in all rows, and return how many of the times' unit a second has.

        Raises `DataError` if there are no rows, or a time, rating or weight is not understood.
        """
        table = self.table
        if counts.rows == 0:
            raise DataError(f"{table.path}: a header and no rows")
        report["interaction_rows"] = counts.rows
        report["item_ids"] = WHOLE_NUMBERS if self.item in table.numbers else "texts"
        report["rows_with_a_word_for_nothing_as_id"] = counts.named_nothing
        report["rows_without_user_or_item"] = counts.incomplete
        identified = identifier(pl.col(self.user)).is_not_null() & identifier(pl.col(self.item)).is_not_null()
        per_second = 1.0
        if self.time is None or self.parser is None:
            report["time_order"] = FILE_ORDER
            named = tuple(filter(None, (self.user, self.item, self.weight)))
            report["time_like_columns"] = time_like(table, named, is_plainly_time(pl.col("")))
        else:
            if counts.untimed:
                check_times(table, self.time, self.parser, identified, self.time_format)
            unit, per_second, report["times_before_1973"] = time_unit(
                table, self.time, np.asarray(counts.sizes)
            )
            report["time_order"] = f"column '{self.time}' ({unit})"
        if self.weight is not None and counts.bad_weights:
            _refuse_weight(table, self.weight, identified)
        if self.rating is not None:
            if counts.bad_ratings:
                _refuse_rating(table, self.rating, identified)
            report["rows_below_min_rating"] = counts.low
        return per_second


def clean(rows: pl.DataFrame, min_rating: float | None) -> tuple[pl.DataFrame, Counts]:
    """Drop rows without a user or item, and those below a least rating; count what there was.

    `rows`: columns as `Reading.expressions` have them, and `time`.
    """
    counts = Counts(rows=rows.height, named_nothing=int(rows["named_nothing"].sum()))
    rows = rows.filter(pl.col("user").is_not_null() & pl.col("item").is_not_null())
    counts.incomplete = counts.rows - rows.height
    counts.untimed = rows["time"].null_count()
    counts.sizes = time_sizes(rows["time"].to_numpy())
    if "weight" in rows.columns:
        counts.bad_weights = rows.filter(~(pl.col("weight") >= 0).fill_null(value=False)).height
    if min_rating is not None:
        counts.bad_ratings = rows.filter(pl.col("rating").is_null() & ~pl.col("unrated")).height
        high = rows.filter(~pl.col("unrated") & (pl.col("rating") >= min_rating))
        counts.low = rows.height - high.height
        rows = high
    return rows.drop("named_nothing", "rating", "unrated", strict=False), counts


def read_interactions(
    table: Table,
    columns: ColumnSettings,
    report: Report,
    *,
    min_rating: float | None = None,
    time_format: str | None = None,
) -> pl.DataFrame:
    """Read and clean interactions; counts of what was dropped go into the report.

    Rows without a user or item are dropped. Rows of the same user, item and time are one interaction, the
    first; without a time column the position in the file is the time, so that none is a duplicate, and the
    report names the columns that look like times.

    Raises `DataError` if the file can't be read, a column is missing, a time, rating or weight is not understood (file
    and line are named), or no row is left.

    Parameters
    ----------
    min_rating, time_format
        As in `DataSettings`.

    Returns
    -------
    DataFrame
        Columns `user` and `item` (Categorical: four bytes a row, whatever the ids), `time` (Float64) and, where a
        column of weights is named, `weight` (Float64, not negative), rows in the order of the file.
    """
    reading = Reading.of(table, columns, min_rating=min_rating, time_format=time_format)
    categories = pl.col("user", "item").cast(pl.Categorical)
    rows = table.collect(table.scan().select(reading.expressions).with_columns(categories))
    if reading.time is None:
        rows = rows.with_columns(time=pl.int_range(rows.height).cast(pl.Float64))
    rows, counts = clean(rows, min_rating)
    per_second = reading.judge(counts, report)
    if per_second != 1:
        rows = rows.with_columns(pl.col("time") / per_second)
    rows = rows.select("user", "item", "time", *(() if reading.weight is None else ("weight",)))
    if reading.time is not None:
        user, item = (rows[name].to_physical().to_numpy() for name in ("user", "item"))
        first, at_once = first_of_each(user, item, rows["time"].to_numpy())
        count_repeats(report, at_once, int(np.count_nonzero(~first)))
        rows = rows.filter(pl.Series(first))
    users, items = (rows[name].unique().drop_nulls().cast(pl.String) for name in ("user", "item"))
    look_at_ids(users, items, report)
    check_any_left(table, rows.height, report)
    return rows


def interaction_columns(table: Table, columns: ColumnSettings) -> tuple[str, str, str | None, str | None]:
    """Find the columns of user, item, time and weight.

    Raises `DataError` if there is none of users or items, or one is two of them.
    """
    user = require_column(table, "user", columns.user)
    item = require_column(table, "item", columns.item)
    time = find_column(table, "timestamp", columns.timestamp)
    weight = None if columns.weight is None else find_column(table, "weight", columns.weight)
    named = [column for column in (user, item, time, weight) if column is not None]
    if twice := [column for column in named if named.count(column) > 1]:
        raise DataError(
            f"{table.path}: '{twice[0]}' can't be two of user, item, time and weight", "see data.columns"
        )
    return user, item, time, weight


def items_by_user(rows: pl.DataFrame) -> pl.DataFrame:
    """Group the rows of `read_interactions`: `user`, in the order of their first row, and `item`, oldest first."""
    return rows.group_by("user", maintain_order=True).agg(
        pl.col("item").cast(pl.String).sort_by("time", maintain_order=True)
    )


def _refuse_rating(table: Table, column: str, identified: pl.Expr) -> NoReturn:
    bad = number(pl.col(column)).is_null() & ~is_missing(pl.col(column))
    _refuse_number(table, column, identified & bad, "data.min_rating needs numeric ratings")


def _refuse_weight(table: Table, column: str, identified: pl.Expr) -> NoReturn:
    _refuse_number(
        table,
        column,
        identified & ~(number(pl.col(column)) >= 0).fill_null(value=False),
        "a weight is a number, zero or more, in every row; 0 keeps a case out of the weighted figures alone",
    )


def look_at_ids(users: pl.Series, items: pl.Series, report: Report) -> None:
    """Put into the report what is doubtful about distinct ids."""
    for part, ids in (("user", users), ("item", items)):
        if odd := doubtful(ids, f"{part}s"):
            report[f"doubtful_{part}_ids"] = odd


def count_repeats(report: Report, at_once: int, repeated: int) -> None:
    """Put into the report what `first_of_each` found."""
    report["times_equal_within_a_user"] = at_once
    report["duplicate_interactions"] = repeated


def check_any_left(table: Table, rows: int, report: Report) -> None:
    """Raise a `DataError` if cleaning left nothing."""
    if rows == 0:
        raise DataError(f"{table.path}: no interaction is left after cleaning: {_dropped_words(report)}")


def first_of_each(
    user: IntArray, item: IntArray, time: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.bool_], int]:
    """Mark the first of all rows with the same user, item and time; count those of a user and time of a row before."""
    # By sorting: a hash table takes four times the memory, which counts at a hundred million rows.
    order = np.lexsort((item, time, user))  # stable, so that of equal rows the first in the file comes first
    at_once = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for key in (user, time):
        ordered = key[order]
        at_once &= ordered[1:] == ordered[:-1]
    ordered = item[order]
    repeats = at_once & (ordered[1:] == ordered[:-1])
    first = np.ones(len(order), dtype=np.bool_)
    first[order[1:][repeats]] = False
    return first, int(np.count_nonzero(at_once & ~repeats))


def _refuse_number(table: Table, column: str, bad: pl.Expr, hint: str) -> NoReturn:
    place, text = table.first(column, bad) or (str(table.path), None)
    if text is None or not text.strip():
        raise DataError(f"{place}: no {column}", hint)
    wrong = "not a number" if pl.select(number(pl.lit(text))).item() is None else "negative"
    if re.fullmatch(r"\s*-?[\d.]*,\d+\s*", text):
        hint = f"write decimals with a point, not a comma; {hint}"
    raise DataError(f"{place}: {column} '{text}' is {wrong}", hint)


def _dropped_words(report: Report) -> str:
    counts = {name: count for name, count in report.items() if isinstance(count, int) and count}
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
