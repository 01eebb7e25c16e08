"""Quotes in separated values, held to RFC 4180 over raw bytes, so that no row vanishes inside a quote."""

import io
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from h2rec.data.readers.lines import open_bytes
from h2rec.errors import DataError

LONGEST_ROW = 1 << 22
"""Bytes of a row at most, which is also the block that PyArrow reads at once."""

_QUOTE, _LINE_FEED, _RETURN = b'"\n\r'
_ROWS_LOOKED_AT = 1000
_FIX = "write a quote that belongs to a text twice and put the whole field into quotes, or take it out"

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Whole rows in a stretch of bytes: where their quotes, separators and line ends are."""

    first_line: int
    """Number of the line that the stretch begins with."""
    data: bytes
    inside: npt.NDArray[np.bool_]
    """Whether a byte stands inside quotes."""
    quotes: Places
    separators: Places
    """Places of all of them."""
    line_ends: Places
    row_ends: Places
    """Last byte of every line, and of those lines that end outside quotes."""

    def line(self, place: int) -> int:
        return self.first_line + int(np.searchsorted(self.line_ends, place))

    def row_start(self, row: int) -> int:
        return 0 if row == 0 else int(self.row_ends[row - 1]) + 1


class QuoteCheck:
    """Finds quotes that are not as RFC 4180 wants them, and quoted fields that swallow whole rows.

    A quote opens a field only at its start and closes it only at its end; within, it is written twice. A
    quoted field may hold line ends. It swallows rows if each of its lines, quotes taken as letters, is a row
    as the others are: as many fields, and numbers, codes and words in the columns that have such.

    `path`: the file, for messages. `fields`: number of columns; None holds rows to the form of quotes alone.
    `header_lines`: number of lines up to the header's end. `line`: number of the first line that it is fed.
    """

    def __init__(
        self, path: Path, separator: str, fields: int | None, header_lines: int = 1, *, line: int = 1
    ) -> None:
        self._path = path
        self._separator = ord(separator)
        self._fields = fields
        self._header_lines = header_lines
        self._rest = b""
        self._line = line
        self._begun = self._ended = False
        self._shapes: list[int] | None = None
        self.needs_quotes = False
        """Whether some field needs its quotes: it holds a separator, a line end, a quote written twice, or nothing."""
        self.fits = True
        """Whether every row with a quote has as many fields as there are columns."""

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes of the file. Raises `DataError` for a quote out of place; the line is named."""
        if not self._begun:
            chunk, self._begun = chunk.removeprefix(b"\xef\xbb\xbf"), True
        data = self._rest + chunk
        if b'"' not in data:
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            lines = data[:end]
            self._line += lines.count(b"\n") + lines.count(b"\r") - lines.count(b"\r\n")
            self._rest = data[end:]
        else:
            self._check(data)

    def close(self) -> None:
        """Check what is left at the end of the file.

        Raises `DataError` as `feed`, and for a quote that is still open.
        """
        rest, self._rest, self._ended = self._rest + b"\n", b"", True
        if b'"' in rest:
            self._check(rest)

    def _check(self, data: bytes) -> None:
        bytes_ = np.frombuffer(data, np.uint8)
        is_quote = bytes_ == _QUOTE
        inside = np.bitwise_xor.accumulate(is_quote)
        quotes = np.flatnonzero(is_quote)
        is_end = bytes_ == _LINE_FEED
        is_end[:-1] |= (bytes_[:-1] == _RETURN) & ~is_end[1:]
        is_end[-1] |= bytes_[-1] == _RETURN
        line_ends = np.flatnonzero(is_end)
        row_ends = line_ends[~inside[line_ends]]
        end = int(row_ends[-1]) + 1 if len(row_ends) else 0
        if end:
            separators = np.flatnonzero(bytes_[:end] == self._separator)
            lines = line_ends[line_ends < end]
            rows = _Rows(self._line, data, inside, quotes[quotes < end], separators, lines, row_ends)
            self._check_places(rows, bytes_)
            self._check_rows(rows)
            self._line += len(lines)
        self._rest = data[end:]
        if len(self._rest) > LONGEST_ROW or self._ended:
            self._refuse_open(bytes_[end:], quotes[quotes >= end] - end, line_ends[line_ends >= end] - end)

    def _check_places(self, rows: _Rows, bytes_: npt.NDArray[np.uint8]) -> None:
        beside = np.zeros(256, np.bool_)
        beside[[_QUOTE, _LINE_FEED, _RETURN, self._separator]] = True
        opening, closing = rows.quotes[0::2], rows.quotes[1::2]
        before = np.where(opening > 0, bytes_[opening - 1], _LINE_FEED)
        bad_opening = opening[~beside[before]][:1]
        bad_closing = np.flatnonzero(~beside[bytes_[closing + 1]])[:1]
        if len(bad_opening) and not (len(bad_closing) and closing[bad_closing[0]] < bad_opening[0]):
            self._refuse(
                rows.line(int(bad_opening[0])), "a quote inside a field that does not begin with one"
            )
        if len(bad_closing):
            closed = int(bad_closing[0])
            first, last = (
                rows.line(place) for place in (_opening_of(opening, closing, closed), int(closing[closed]))
            )
            if first == last:
                self._refuse(first, "a quoted field goes on after its closing quote")
            self._refuse(first, f"a quote opens here and closes in the middle of line {last}")

    def _check_rows(self, rows: _Rows) -> None:
        ends = rows.row_ends
        outside = rows.separators[~rows.inside[rows.separators]]
        doubled = bool(np.any(rows.quotes[1:] == rows.quotes[:-1] + 1))
        self.needs_quotes |= doubled or len(outside) < len(rows.separators) or len(ends) < len(rows.line_ends)
        if self._fields is None or self._fields < 2:
            return
        cells = np.diff(np.searchsorted(outside, ends), prepend=0)
        with_quotes = np.diff(np.searchsorted(rows.quotes, ends), prepend=0) > 0
        self.fits &= bool((cells[with_quotes] == self._fields - 1).all())
        if self._shapes is None:
            self._shapes = self._column_shapes(rows, outside)
        inner = rows.line_ends[rows.inside[rows.line_ends]]
        if not len(inner):
            return
        per_line = np.diff(np.searchsorted(rows.separators, rows.line_ends), prepend=0)
        last_lines = np.searchsorted(rows.line_ends, ends)
        for row in np.unique(np.searchsorted(ends, inner)).tolist():
            first = 0 if row == 0 else int(last_lines[row - 1]) + 1
            last = int(last_lines[row])
            # The separators of its lines alone show that most text is no row.
            if not np.isin(per_line[first : last + 1], (self._fields - 1, 0)).all():
                continue
            lines = rows.data[rows.row_start(row) : int(ends[row])].splitlines()
            if all(self._is_row(line) for line in (*lines[1:-1], lines[0], lines[-1]) if line.strip()):
                opening = int(rows.quotes[np.searchsorted(rows.quotes, rows.row_start(row))])
                what = f"a quote opens here and closes in line {rows.first_line + last}, and what is between"
                self._refuse(rows.line(opening), f"{what} looks like rows of the table")

    def _column_shapes(self, rows: _Rows, outside: Places) -> list[int]:
        """Widest kind of value in each column of the first rows."""
        assert self._fields is not None
        shapes = [0] * self._fields
        for row, end in enumerate(rows.row_ends[:_ROWS_LOOKED_AT].tolist()):
            start = rows.row_start(row)
            first, last = np.searchsorted(outside, (start, end))
            cuts = [start - 1, *outside[first:last].tolist(), end]
            if len(cuts) == self._fields + 1 and rows.line(start) > self._header_lines:
                values = (rows.data[left + 1 : right] for left, right in pairwise(cuts))
                shapes = [max(kind, _shape(value)) for kind, value in zip(shapes, values, strict=True)]
        return shapes

    def _is_row(self, line: bytes) -> bool:
        values = line.split(bytes([self._separator]))
        return len(values) == self._fields and all(
            _shape(value) <= kind for value, kind in zip(values, self._shapes or (), strict=True)
        )

    def _refuse_open(self, bytes_: npt.NDArray[np.uint8], quotes: Places, line_ends: Places) -> None:
        """Refuse a field that does not end, if there is one, or what is wrong before it."""
        if len(quotes) % 2 == 0:
            return
        none = np.empty(0, np.intp)
        rows = _Rows(self._line, self._rest, np.empty(0, np.bool_), quotes, none, line_ends, none)
        self._check_places(rows, bytes_)
        opening = _opening_of(quotes[0::2], quotes[1::2], len(quotes) // 2)
        self._refuse(rows.line(opening), "a quote opens a field here and is not closed")

    def _refuse(self, line: int, what: str) -> NoReturn:
        raise DataError(f"{self._path}:{line}: {what}", _FIX)


def _opening_of(opening: Places, closing: Places, field: int) -> int:
    """Place where a field opens: a quote written twice closes it and opens it anew."""
    while field and opening[field] == closing[field - 1] + 1:
        field -= 1
    return int(opening[field])


_SHAPES = tuple(re.compile(form) for form in (rb"", rb"[-+]?[\d.]+(?:[eE][-+]?\d+)?", rb"\S*\d\S*", rb"\S+"))


def _shape(value: bytes) -> int:
    """Tell nothing, a number, a word with a digit, a word and a text apart, from narrow (0) to wide."""
    bare = value.strip(b' \r"')
    return next((kind for kind, form in enumerate(_SHAPES) if form.fullmatch(bare)), len(_SHAPES))


class CheckedStream(io.RawIOBase):
    """A stream of bytes that a `QuoteCheck` sees as they are read."""

    def __init__(self, stream: Any, check: QuoteCheck) -> None:
        self._stream = stream
        self._check = check

    def readable(self) -> bool:
        """Bytes can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read as many bytes as asked for, fewer at the end only, and check them."""
        data: bytes = self._stream.read(size)
        while data and len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        if data:
            self._check.feed(data)
        else:
            self._check.close()
        return data


def check_quotes(path: Path, separator: str, fields: int, header_lines: int = 1) -> QuoteCheck:
    """Check a whole file.

    Raises `DataError` for a quote out of place, or one that swallows rows (the line is named), or a file that can't
    be read.
    """
    check = QuoteCheck(path, separator, fields, header_lines)
    with open_bytes(path) as stream:
        while chunk := stream.read(LONGEST_ROW):
            check.feed(chunk)
    check.close()
    return check


def plainly_quoted(path: Path, separator: str, header: str, header_lines: int) -> bool:
    """Whether a file of a kind that is not quoted is quoted all the same, as some programs write it.

    It is if every name of the header is quoted, or if all quotes are as RFC 4180 wants them, fields fit the
    columns, and some field holds what only quotes allow: a separator, a line end, a quote written twice, or
    nothing between two quotes.
    """
    names = header.rstrip("\r\n").split(separator)
    if all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        return True
    try:
        check = check_quotes(path, separator, len(names), header_lines)
    except DataError:
        return False  # quotes are letters here; if it can't be read at all, reading it says so
    return check.needs_quotes and check.fits
