"""The format of a file, by its name."""

from collections.abc import Callable
from pathlib import Path

from h2rec.data.readers.atomic import open_atomic
from h2rec.data.readers.delimited import open_csv, open_tsv
from h2rec.data.readers.json_lines import open_json_lines
from h2rec.data.readers.lines import is_gzipped
from h2rec.data.readers.parquet import open_parquet, open_shards
from h2rec.data.readers.table import Reader, Table
from h2rec.errors import DataError
from h2rec.registry import Registry

READERS: Registry[type[Reader]] = Registry(
    "reader", "h2rec.readers", {}, base="h2rec.data.readers.table:Reader"
)
"""Formats of other packages, by the ending of the files."""

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
_SEPARATED = {".csv": open_csv, ".tsv": open_tsv}
_BEGINNINGS = {
    b"\x1f\x8b": ("a gzip file", "let its name end in .gz"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    b"PAR1": ("a Parquet file", "let its name end in .parquet"),
}
"""First bytes of files that are not the text that their name promises, and what to do about them."""


def open_table(path: Path, *, separator: str | None = None) -> Table:
    """Open a file in the format of its name, `.gz` aside, or a folder of Parquet files.

    `separator`: what stands between the fields of `.csv` and `.tsv`; None finds it. Raises `DataError` if the file
    is missing or empty, its format is unknown or not that of its name, or its header can't be understood.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.is_dir():
        return open_shards(path)
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    suffix = (Path(path.stem).suffix if is_gzipped(path) else path.suffix).lower()
    opener = _OPENERS.get(suffix)
    if opener is None and suffix[1:] in READERS:
        return READERS.get(suffix[1:]).open(path)
    if opener is None or (opener is open_parquet and is_gzipped(path)):
        known = ", ".join([*_OPENERS, *(f".{name}" for name in READERS.names())])
        if opener is open_parquet:
            raise DataError(f"{path}: Parquet is not read as .gz", "it is compressed inside: gunzip the file")
        raise DataError(
            f"{path}: unknown format '{suffix}'", f"known are {known}; all but Parquet also as .gz"
        )
    if opener is not open_parquet and not is_gzipped(path):
        _refuse_other_format(path)
    return _SEPARATED[suffix](path, separator) if suffix in _SEPARATED else opener(path)


def _refuse_other_format(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            beginning = stream.read(4)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from None
    for known, (what, remedy) in _BEGINNINGS.items():
        if beginning.startswith(known):
            raise DataError(f"{path}: {what}, which its name does not tell", remedy)
