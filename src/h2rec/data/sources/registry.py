"""All named data sets: one line a family."""

import difflib
import logging
from pathlib import Path

from h2rec.data.sources import amazon, made, movielens, yelp
from h2rec.data.sources.source import FetchedSource, Source
from h2rec.errors import DataError
from h2rec.files import cache_folder, read_json, write_json

logger = logging.getLogger(__name__)

_SOURCES = {
    source.name: source for source in (*movielens.SOURCES, *amazon.SOURCES, *yelp.SOURCES, *made.SOURCES)
}


def list_sources() -> list[Source]:
    """Return every named data set."""
    return list(_SOURCES.values())


def fetch(name: str, folder: Path | None = None) -> FetchedSource:
    """Download and convert a named data set, unless that is done already.

    `folder`: where its files go; by default `datasets/NAME` in the cache folder. Raises `DataError` if the name is
    unknown, or the data can't be fetched; the message says where to put a file by hand.
    """
    source = _SOURCES.get(name)
    if source is None:
        nearest = difflib.get_close_matches(name, _SOURCES, n=1, cutoff=0.4)
        hint = f"did you mean '{nearest[0]}'?" if nearest else "`h2rec datasets list` names them all"
        raise DataError(f"no data set is called '{name}'", hint)
    folder = cache_folder() / "datasets" / name if folder is None else folder
    # Written last, so that a broken-off conversion is never taken for a finished one.
    marker = folder / "fetched.json"
    if marker.exists():
        files = read_json(marker)
        fetched = FetchedSource(folder / files["interactions"], folder / files["items"])
        if fetched.interactions.is_file() and fetched.items.is_file():
            return fetched
    logger.info("fetching %s into %s (terms of use: %s)", name, folder, source.address)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = source.build(folder)
    write_json(marker, {"interactions": fetched.interactions.name, "items": fetched.items.name})
    return fetched
