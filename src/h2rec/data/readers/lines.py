"""Lines of a text file with their numbers, decoded strictly."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from h2rec.errors import DataError


def is_gzipped(path: Path) -> bool:
    """Whether the name ends in .gz."""
    return path.suffix.lower() == ".gz"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every line with its number from 1, line end included, byte order mark removed.

    Raises
    ------
    DataError
        For a byte that is not UTF-8 (the line and column are named), a damaged gzip file, or a file that
        can't be opened.
    """
    try:
        with gzip.open(path) if is_gzipped(path) else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                text = _decoded(path, number, raw)
                yield number, text.removeprefix("\ufeff") if number == 1 else text
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})", "get the file again") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from None


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})",
            "convert the file to UTF-8, for example with iconv",
        ) from None
