"""The page headers of a Parquet file: how much memory readers would allocate, known before they do.

A file's footer may claim anything. Readers allocate what the header of each page claims, so these are read here, from
Thrift's compact form, with nothing decompressed.
"""

from dataclasses import dataclass
from typing import Any

from h2rec.errors import DataError

_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_HEADER_OF = {_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}
_ENCODING_AT = {_DATA: 2, _DICTIONARY: 2, _DATA_2: 4}
_ENCODINGS = frozenset({0, 2, 3, 4, 5, 6, 8})
"""All but those in which a value takes no bytes of its own (7, DELTA_BYTE_ARRAY) and what no text or count is in."""
_DEEPEST = 8

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12


@dataclass(frozen=True)
class ChunkPages:
    """What the pages of one column chunk claim: bytes when decompressed, and values, without dictionaries."""

    uncompressed: int
    values: int


def chunk_pages(data: memoryview, start: int, stop: int) -> ChunkPages:
    """Add up the pages of a column chunk that lies in ``data[start:stop]``.

    Raises `DataError` if the chunk is anything but whole pages of the kinds and encodings that a table of texts and
    numbers has.
    """
    if not 0 <= start <= stop <= len(data):
        raise DataError("a column lies outside of the file")
    at, uncompressed, values = start, 0, 0
    try:
        while at < stop:
            header, at = _struct(data, at, stop, 0)
            kind, size, held = int(header[1]), int(header[2]), int(header[3])
            own = header[_HEADER_OF[kind]]
            if (
                size < 0
                or held < 0
                or at + held > stop
                or own[1] < 0
                or own[_ENCODING_AT[kind]] not in _ENCODINGS
            ):
                raise DataError("a page claims more than there is, or an encoding that is not read")
            uncompressed += size
            values += 0 if kind == _DICTIONARY else int(own[1])
            at += held
    except (KeyError, IndexError, TypeError, ValueError):
        raise DataError("a page's header is damaged") from None
    return ChunkPages(uncompressed, values)


def _struct(data: memoryview, at: int, stop: int, depth: int) -> tuple[dict[int, Any], int]:
    if depth > _DEEPEST:
        raise ValueError
    fields: dict[int, Any] = {}
    number = 0
    while True:
        if at >= stop:
            raise IndexError
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if kind == 0:
            return fields, at
        if step:
            number += step
        else:
            number, at = _whole(data, at, stop)
        fields[number], at = _value(data, at, stop, kind, depth)


def _value(data: memoryview, at: int, stop: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in (4, 5, 6):
        return _whole(data, at, stop)
    if kind == _STRUCT:
        return _struct(data, at, stop, depth + 1)
    if kind in (_BYTE, _DOUBLE):
        length = 1 if kind == _BYTE else 8
    elif kind == _BINARY:
        length, at = _varint(data, at, stop)
    else:  # lists, sets and maps stand in no page header
        raise ValueError
    if at + length > stop:
        raise IndexError
    return None, at + length


def _varint(data: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= stop:
            raise IndexError
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise ValueError


def _whole(data: memoryview, at: int, stop: int) -> tuple[int, int]:
    value, at = _varint(data, at, stop)
    return (value >> 1) ^ -(value & 1), at
