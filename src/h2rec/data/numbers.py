"""Times and other numbers written as text, read strictly."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.readers import Table
from h2rec.data.readers.table import is_missing
from h2rec.errors import DataError

Parser = Callable[[pl.Expr], pl.Expr]
"""Turns strings into float64, null where a string is not understood."""

_ISO_FORMAT = "%Y-%m-%dT%H:%M:%S%.f%:z"


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


def number(text: pl.Expr) -> pl.Expr:
    """Read finite numbers; null where a text is none."""
    value = text.str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def iso_time(text: pl.Expr) -> pl.Expr:
    """Read ISO 8601 dates and times as seconds since 1970; without an offset they are UTC."""
    whole = (
        text.str.strip_chars()
        .str.replace(" ", "T", literal=True)
        .str.replace(r"[zZ]$", "+00:00")
        .str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00")
        .str.replace(r"T(\d\d:\d\d)($|[+-])", "T${1}:00${2}")
        .str.replace(r"(T[\d:.]+)$", "${1}+00:00")
    )
    moment = whole.str.to_datetime(_ISO_FORMAT, strict=False, time_unit="us")
    return moment.dt.epoch("us").cast(pl.Float64) / 1e6


def time_parser(table: Table, column: str) -> Parser:
    """Choose between numbers and ISO 8601 by the first value of the column."""
    present = table.scan().select(column).filter(~is_missing(pl.col(column))).head(1)
    first = table.collect(present.select(number(pl.col(column)))).to_series()
    return number if first.null_count() == 0 else iso_time


def check_times(table: Table, column: str, parser: Parser, rows: pl.Expr) -> None:
    """Find out why times were not understood.

    Parameters
    ----------
    rows
        Which rows must have a time.

    Raises
    ------
    DataError
        For a row without a time, a text that is no time, or numbers mixed with dates; the line is named.
    """
    place, text = _first(table, column, rows & parser(pl.col(column)).is_null())
    if text is None or not text.strip():
        hint = "without a time a row has no place in a history; fill it or take the row out"
        raise DataError(f"{place}: no {column}", hint)
    other = iso_time if parser is number else number
    if pl.select(other(pl.lit(text))).item() is not None:
        here, before = ("a date", "numbers") if parser is number else ("a number", "dates")
        hint = "write all times of a file in one form"
        raise DataError(f"{place}: {column} '{text}' is {here}, but the rows before it have {before}", hint)
    hint = "write seconds since 1970, or ISO 8601 such as 2024-05-01T12:30:00"
    raise DataError(f"{place}: {column} '{text}' is not a time", hint)


def to_seconds(
    table: Table, column: str, times: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], str]:
    """Bring times to seconds, the unit told by their size.

    Small numbers (below the year 1973 in seconds) may be any count, such as the position in a history,
    and stay as they are.

    Returns
    -------
    times, unit
        The times, float64 in the order given, and the unit that they were written in.

    Raises
    ------
    DataError
        If some times look like one unit and others like another; a line is named.
    """
    sizes = np.abs(times)
    counts = {unit: int(np.count_nonzero((sizes >= unit.low) & (sizes < unit.high))) for unit in _UNITS}
    present = [unit for unit in _UNITS if counts[unit]]
    if not present:
        return times, "count"
    most, *others = sorted(present, key=lambda unit: -counts[unit])
    if others:
        odd = others[-1]
        size = number(pl.col(column)).abs()
        place, text = _first(table, column, (size >= odd.low) & (size < odd.high))
        message = f"{place}: {column} {text} looks like {odd.name}, but most look like {most.name}"
        raise DataError(message, "write all times of a file in one unit")
    return times / most.per_second, most.name


def _first(table: Table, column: str, condition: pl.Expr) -> tuple[str, str | None]:
    found = table.first(column, condition)
    return found if found is not None else (str(table.path), None)
