"""Interactions read, checked and cleaned, row by row of the file, still under the file's own ids."""

import re
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.columns import find_column, require_column, time_like
from h2rec.data.identifiers import doubtful, identifier, identifier_reader, names_nothing
from h2rec.data.numbers import number
from h2rec.data.readers import Table
from h2rec.data.readers.table import is_missing
from h2rec.data.settings import ColumnSettings
from h2rec.data.times import check_times, is_plainly_time, time_parser, to_seconds
from h2rec.errors import DataError

Report = dict[str, int | str | list[str]]


FILE_ORDER = "order of the file"
"""What the report has as `time_order` where there is no time."""
WHOLE_NUMBERS = "whole numbers"
"""What the report has as `item_ids` where the data hold numbers, all of them whole."""


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
    user, item, time, weight = parts = interaction_columns(table, columns)
    rating = None if min_rating is None else require_column(table, "rating", columns.rating)
    expressions = [
        identifier_reader(table, column)(pl.col(column)).cast(pl.Categorical).alias(part)
        for part, column in (("user", user), ("item", item))
    ]
    expressions.append((names_nothing(pl.col(user)) | names_nothing(pl.col(item))).alias("named_nothing"))
    if time is not None:
        parser = time_parser(table, time, time_format)
        expressions.append(parser(pl.col(time)).alias("time"))
    if rating is not None:
        expressions += [number(pl.col(rating)).alias("rating"), is_missing(pl.col(rating)).alias("unrated")]
    if weight is not None:
        expressions.append(number(pl.col(weight)).alias("weight"))
    rows = table.collect(table.scan().select(expressions))
    if rows.height == 0:
        raise DataError(f"{table.path}: a header and no rows")
    report["interaction_rows"] = rows.height
    report["item_ids"] = WHOLE_NUMBERS if item in table.numbers else "texts"
    report["rows_with_a_word_for_nothing_as_id"] = int(rows["named_nothing"].sum())

    complete = pl.col("user").is_not_null() & pl.col("item").is_not_null()
    if time is None:
        rows = rows.with_columns(time=pl.int_range(rows.height).cast(pl.Float64))
    rows = _keep(rows, complete, report, "rows_without_user_or_item")
    identified = identifier(pl.col(user)).is_not_null() & identifier(pl.col(item)).is_not_null()
    if time is None:
        report["time_order"] = FILE_ORDER
        report["time_like_columns"] = time_like(
            table, tuple(filter(None, parts)), is_plainly_time(pl.col(""))
        )
    else:
        if rows["time"].null_count():
            check_times(table, time, parser, identified, time_format)
        seconds, unit, early = to_seconds(table, time, rows["time"].to_numpy())
        rows = rows.with_columns(time=pl.Series(seconds))
        report["times_before_1973"] = early
        report["time_order"] = f"column '{time}' ({unit})"
    if weight is not None:
        _check_weights(table, weight, rows, identified)
    if rating is not None:
        _check_ratings(table, rating, rows, identified)
        high = ~pl.col("unrated") & (pl.col("rating") >= min_rating)
        rows = _keep(rows, high, report, "rows_below_min_rating")
    rows = rows.select("user", "item", "time", *(() if weight is None else ("weight",)))
    if time is not None:
        first, report["times_equal_within_a_user"] = _first_of_each(rows)
        rows = _keep(rows, pl.Series(first), report, "duplicate_interactions")
    _look_at_ids(rows, report)
    if rows.height == 0:
        raise DataError(f"{table.path}: no interaction is left after cleaning: {_dropped_words(report)}")
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


def _check_ratings(table: Table, column: str, rows: pl.DataFrame, identified: pl.Expr) -> None:
    if (rows["rating"].is_null() & ~rows["unrated"]).any():
        bad = number(pl.col(column)).is_null() & ~is_missing(pl.col(column))
        _refuse_number(table, column, identified & bad, "data.min_rating needs numeric ratings")


def _check_weights(table: Table, column: str, rows: pl.DataFrame, identified: pl.Expr) -> None:
    if rows["weight"].null_count() or (rows["weight"] < 0).any():
        bad = ~(number(pl.col(column)) >= 0).fill_null(value=False)
        _refuse_number(
            table,
            column,
            identified & bad,
            "a weight is a number, zero or more, in every row; 0 keeps a case out of the weighted figures alone",
        )


def _look_at_ids(rows: pl.DataFrame, report: Report) -> None:
    for part in ("user", "item"):
        if odd := doubtful(rows[part].unique().drop_nulls().cast(pl.String), f"{part}s"):
            report[f"doubtful_{part}_ids"] = odd


def _keep(rows: pl.DataFrame, condition: pl.Expr | pl.Series, report: Report, dropped: str) -> pl.DataFrame:
    kept = rows.filter(condition)
    report[dropped] = rows.height - kept.height
    return kept


def _first_of_each(rows: pl.DataFrame) -> tuple[npt.NDArray[np.bool_], int]:
    """Mark the first of all rows with the same user, item and time; count those of a user and time of a row before."""
    # By sorting: a hash table takes four times the memory, which counts at a hundred million rows.
    item, time, user = (
        rows["item"].to_physical().to_numpy(),
        rows["time"].to_numpy(),
        rows["user"].to_physical().to_numpy(),
    )
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
