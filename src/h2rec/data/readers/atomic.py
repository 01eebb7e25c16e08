"""RecBole's atomic files: tab-separated, never quoted, with a typed header such as `user_id:token`."""

from pathlib import Path

from h2rec.data.readers.delimited import Dialect, header, open_delimited
from h2rec.data.readers.table import Table
from h2rec.errors import DataError

_TYPES = ("token", "token_seq", "float", "float_seq")


def open_atomic(path: Path) -> Table:
    """Open an atomic file; columns go by their names without the type.

    Raises `DataError` if the header is not typed.
    """
    dialect = Dialect("\t", quoted=False)
    fields, lines = header(path, dialect)
    names = [_name(path, field) for field in fields]
    return open_delimited(path, names, lines, dialect)


def _name(path: Path, field: str) -> str:
    name, colon, kind = field.strip().rpartition(":")
    if not colon or not name or kind not in _TYPES:
        raise DataError(
            f"{path}:1: '{field}' is not a typed column of an atomic file",
            f"write it as name:type, with one of the types {', '.join(_TYPES)}; or name the file .tsv",
        )
    return name
