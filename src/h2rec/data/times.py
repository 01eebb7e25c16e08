"""Times: numbers of one unit, ISO 8601, or dates such as 31/12/2024, one kind a file and never guessed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.numbers import number
from h2rec.data.readers import Table
from h2rec.data.readers.table import is_missing
from h2rec.errors import DataError

Parser = Callable[[pl.Expr], pl.Expr]
"""Turns strings into float64, null where a string is not understood."""

_ISO_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%:z"
_SLASHED = r"^\s*(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})(?:$|[ T])"
_FORMAT_HINT = "data.time_format tells how it is written, such as '%d/%m/%Y %H:%M'"


class _Unit(NamedTuple):
    name: str
    per_second: float

    @property
    def low(self) -> float:
        """The year 1973; every unit reaches from there to where the next finer one begins."""
        return 1e8 * self.per_second

    @property
    def high(self) -> float:
        return self.low * 1e3


_UNITS = tuple(
    _Unit(name, steps)
    for name, steps in (("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
)


def iso_time(text: pl.Expr) -> pl.Expr:
    """Read ISO 8601 dates and times as seconds since 1970; without an offset they are UTC.

    Also as databases and programs write them: a blank before the time or the offset, `+00`, `UTC`, slashes.
    """
    normalized = (
        text.str.strip_chars()
        .str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})", "${1}-${2}-${3}")
        .str.replace(r"\s*(?:[zZ]|UTC|GMT)$", "+00:00")
        .str.replace(r"(:[\d.,]+)\s*([+-]\d\d)$", "${1}${2}:00")
        .str.replace(r"(:[\d.,]+)\s+([+-])", "${1}${2}")
        .str.replace(",", ".", literal=True)
        .str.replace(" ", "T", literal=True)
        .str.replace(r"^(\d{4}-\d{1,2}-\d{1,2})(\+00:00)?$", "${1}T00:00")
        .str.replace(r"T(\d{1,2}:\d\d)($|[+-])", "T${1}:00${2}")
        .str.replace(r"(T[\d:.]+)$", "${1}+00:00")
    )
    moment = normalized.str.to_datetime(_ISO_FORMAT, strict=False, time_unit="us")
    return moment.dt.epoch("us").cast(pl.Float64) / 1e6


def day_first(text: pl.Expr) -> pl.Expr:
    """Read times such as 31/12/2024 13:30 as seconds since 1970."""
    return iso_time(text.str.replace(_SLASHED.replace("(?:$|[ T])", ""), "${3}-${2}-${1}"))


def month_first(text: pl.Expr) -> pl.Expr:
    """Read times such as 12/31/2024 13:30 as seconds since 1970."""
    return iso_time(text.str.replace(_SLASHED.replace("(?:$|[ T])", ""), "${3}-${1}-${2}"))


def is_plainly_time(text: pl.Expr) -> pl.Expr:
    """Whether a string is a date, or a number of the size that a clock gives since 2001."""
    clock = number(text)
    return (
        iso_time(text).is_not_null()
        | text.str.contains(_SLASHED)
        | (clock.is_between(1e9, 3e9) | clock.is_between(1e12, 3e18))
    ).fill_null(value=False)


def time_parser(table: Table, column: str, time_format: str | None = None) -> Parser:
    """Choose between numbers, ISO 8601 and dates with slashes by the first value of the column.

    `time_format`: how times are written, as `strptime` has it, instead of what the first value looks like. Raises
    `DataError` if nothing in the file tells days from months.
    """
    if time_format is not None:
        return _formatted(time_format)
    value = pl.col(column)
    present = table.scan().select(value).filter(~is_missing(value))
    first = table.collect(
        present.head(1).select(number(value).alias("number"), value.str.contains(_SLASHED).alias("slashed"))
    )
    if first.height and not first["slashed"][0]:
        return iso_time if first["number"][0] is None else number
    return _day_or_month_first(table, column) if first.height else number


def _formatted(time_format: str) -> Parser:
    def parser(text: pl.Expr) -> pl.Expr:
        moment = text.str.strip_chars().str.to_datetime(time_format, strict=False, time_unit="us")
        return moment.dt.epoch("us").cast(pl.Float64) / 1e6

    return parser


def _day_or_month_first(table: Table, column: str) -> Parser:
    fields = pl.col(column).str.extract_groups(_SLASHED).struct
    largest = table.collect(
        table.scan().select(
            fields.field(name).cast(pl.Int64, strict=False).max().alias(name) for name in ("1", "2")
        )
    )
    first, second = largest.row(0)
    if first > 12:
        return day_first
    if second > 12:
        return month_first
    place, text = _first(table, column, ~is_missing(pl.col(column)))
    message = f"{place}: {column} '{text}' and all others may be days and months, or months and days"
    raise DataError(message, "tell with data.time_format, '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M' for example")


def check_times(
    table: Table, column: str, parser: Parser, rows: pl.Expr, time_format: str | None = None
) -> None:
    """Find out why times were not understood.

    `rows`: which rows must have a time. Raises `DataError` for a row without a time, a text that is no time, or
    numbers mixed with dates; the line is named.
    """
    place, text = _first(table, column, rows & parser(pl.col(column)).is_null())
    if text is None or not text.strip():
        hint = "without a time a row has no place in a history; fill it or take the row out"
        raise DataError(f"{place}: no {column}", hint)
    if time_format is not None:
        raise DataError(
            f"{place}: {column} '{text}' is not written as data.time_format says, '{time_format}'"
        )
    other = iso_time if parser is number else number
    if pl.select(other(pl.lit(text))).item() is not None:
        here, before = ("a date", "numbers") if parser is number else ("a number", "dates")
        hint = "write all times of a file in one form"
        raise DataError(f"{place}: {column} '{text}' is {here}, but the rows before it have {before}", hint)
    hint = f"write seconds since 1970, or ISO 8601 such as 2024-05-01T12:30:00; else {_FORMAT_HINT}"
    raise DataError(f"{place}: {column} '{text}' is not a time", hint)


def time_sizes(times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Count how large times are: of some rows, to be added up for all.

    Returns int64 `[2, units]`: how many times have the size of a unit, and how many lie below 1973 in it.
    """
    sizes = np.abs(times)
    inside = [np.count_nonzero((sizes >= unit.low) & (sizes < unit.high)) for unit in _UNITS]
    return np.array([inside, [np.count_nonzero(times < unit.low) for unit in _UNITS]])


def time_unit(table: Table, column: str, counts: npt.NDArray[np.int64]) -> tuple[str, float, int]:
    """Find the unit of times: their sizes, as `time_sizes` counts them, show it.

    Small numbers (below the year 1973 in seconds) may be any count, such as the position in a history,
    and stay as they are.

    Returns `unit, per_second, early`: the unit, how many of it a second has, and how many of the times, in a column
    of clock times, lie before 1973, as a zero in place of a missing time does. Raises `DataError` if some times look
    like one unit and others like another; a line is named.
    """
    present = sorted(np.flatnonzero(counts[0]).tolist(), key=lambda place: -int(counts[0, place]))
    if not present:
        return "count", 1.0, 0
    most, *others = present
    if others:
        odd = _UNITS[others[-1]]
        size = number(pl.col(column)).abs()
        place, text = _first(table, column, (size >= odd.low) & (size < odd.high))
        message = f"{place}: {column} {text} looks like {odd.name}, but most look like {_UNITS[most].name}"
        raise DataError(message, "write all times of a file in one unit")
    return _UNITS[most].name, _UNITS[most].per_second, int(counts[1, most])


def days_of(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64] | None:
    """Calendar days (UTC) of times, counted from 1970, in the order given.

    None where there is nothing to tell apart: positions and other counts (no time reaches 1973, see `time_unit`), or
    a single day.
    """
    if not (np.abs(seconds) >= _UNITS[0].low).any():
        return None
    days = np.floor(seconds / 86_400).astype(np.int64)
    return days if days.min() < days.max() else None


def _first(table: Table, column: str, condition: pl.Expr) -> tuple[str, str | None]:
    row = table.first(column, condition)
    return row if row is not None else (str(table.path), None)
