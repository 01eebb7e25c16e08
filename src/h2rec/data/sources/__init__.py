"""Named public data sets, fetched from where their owners publish them."""

from h2rec.data.sources.registry import fetch, list_sources
from h2rec.data.sources.source import FetchedSource, Source

__all__ = ["FetchedSource", "Source", "fetch", "list_sources"]
