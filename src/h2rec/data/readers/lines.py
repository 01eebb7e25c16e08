"""Lines of a text file with their numbers, decoded strictly."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from h2rec.errors import DataError


def is_gzipped(path: Path) -> bool:
    """Whether the name ends in .gz."""
    return path.suffix.lower() == ".gz"


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, unpacked where its name ends in .gz.

    Raises `DataError` for a damaged gzip file or one that can't be opened, also while it is read.
    """
    try:
        with gzip.open(path) if is_gzipped(path) else path.open("rb") as stream:
            yield cast(IO[bytes], stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})", "get the file again") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from None


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every line with its number from 1, line end included, byte order mark removed.

    Raises `DataError` for a byte that is not UTF-8 (the line and column are named), a damaged gzip file, or a file
    that can't be opened.
    """
    with open_bytes(path) as stream:
        for number, raw in enumerate(stream, start=1):
            text = _decoded(path, number, raw)
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "its encoding"
        raise DataError(
            f"{path}:{number}: not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})",
            f"convert the file from {kind} to UTF-8, for example with iconv",
        ) from None
