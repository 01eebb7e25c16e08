"""The format of a file, told by its name."""

from collections.abc import Callable
from pathlib import Path

from h2rec.data.readers.atomic import open_atomic
from h2rec.data.readers.delimited import open_csv, open_tsv
from h2rec.data.readers.json_lines import open_json_lines
from h2rec.data.readers.lines import is_gzipped
from h2rec.data.readers.parquet import open_parquet
from h2rec.data.readers.table import Table
from h2rec.errors import DataError

_OPENERS: dict[str, Callable[[Path], Table]] = {
    ".inter": open_atomic,
    ".item": open_atomic,
    ".csv": open_csv,
    ".tsv": open_tsv,
    ".parquet": open_parquet,
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".json": open_json_lines,
}


def open_table(path: Path) -> Table:
    """Open a file in the format that its name tells, `.gz` aside.

    Raises
    ------
    DataError
        If the file is missing or empty, its format is unknown, or its header can't be understood.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.is_dir():
        raise DataError(f"{path}: a folder where a file is expected")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    suffix = Path(path.stem).suffix if is_gzipped(path) else path.suffix
    opener = _OPENERS.get(suffix.lower())
    if opener is None or (opener is open_parquet and is_gzipped(path)):
        known = ", ".join(_OPENERS)
        raise DataError(
            f"{path}: unknown format '{suffix}'", f"known are {known}; all but Parquet also as .gz"
        )
    return opener(path)
