"""The Yelp Open Dataset, whose licence every user accepts in person."""

import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from h2rec.data.readers.json_lines import json_object
from h2rec.data.sources.parquet_rows import write_rows
from h2rec.data.sources.source import FetchedSource, Source
from h2rec.errors import DataError

_HOME = "https://business.yelp.com/data/resources/open-dataset/"
_REVIEWS = "yelp_academic_dataset_review.json"
_BUSINESSES = "yelp_academic_dataset_business.json"


def _build(folder: Path) -> FetchedSource:
    text = pa.string()
    return FetchedSource(
        write_rows(
            folder / "interactions.parquet",
            {"user_id": text, "item_id": text, "rating": pa.float32(), "timestamp": text},
            _values(folder, _REVIEWS, ("user_id", "business_id", "stars", "date")),
        ),
        write_rows(
            folder / "items.parquet",
            {"item_id": text, "title": text, "categories": text, "city": text, "state": text},
            _values(folder, _BUSINESSES, ("business_id", "name", "categories", "city", "state")),
        ),
    )


def _values(folder: Path, member: str, keys: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    with _opened(folder, member) as (path, stream):
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                fields = json_object(path, number, raw.decode("utf-8", errors="replace"))
                yield tuple(fields.get(key) for key in keys)


@contextmanager
def _opened(folder: Path, member: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open a file of the data set, unpacked or inside the archive, which is read as a stream."""
    raw = folder / "raw"
    archives = [raw / name for name in ("yelp_dataset.tar", "yelp_dataset.tgz", "yelp_dataset.tar.gz")]
    archive = next((path for path in archives if path.exists()), None)
    with ExitStack() as stack:
        if (raw / member).exists():
            yield raw / member, stack.enter_context((raw / member).open("rb"))
            return
        if archive is None:
            raise DataError(
                "yelp: the Yelp Open Dataset can't be fetched without accepting its licence",
                f"accept it at {_HOME}, download the JSON archive, and put yelp_dataset.tar into {raw}",
            )
        try:
            opened = stack.enter_context(tarfile.open(archive))
            inside = next(entry for entry in opened if Path(entry.name).name == member and entry.isfile())
            stream = opened.extractfile(inside)
        except (tarfile.TarError, OSError, EOFError, StopIteration):
            stream = None
        if stream is None:
            raise DataError(f"{archive}: no whole archive with {member}", f"download it again from {_HOME}")
        yield archive / member, stack.enter_context(stream)


SOURCES = (Source("yelp", "Yelp Open Dataset: reviews and businesses (put there by hand)", _HOME, _build),)
