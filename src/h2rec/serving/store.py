"""Where a served bundle and the items added to it live on disk."""

import logging
import shutil
from pathlib import Path

import polars as pl

from h2rec.errors import BundleError, DataError
from h2rec.files import file_hash, read_json
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.growth import Growth, add_items
from h2rec.retrieval.manifest import MANIFEST

logger = logging.getLogger(__name__)

_ORIGIN = "grown_from"
_KEPT = 2


class BundleStore:
    """A bundle and, beside it, the generations that `POST /items` made of it.

    The bundle itself is never changed. Each addition writes a whole new bundle into
    ``BUNDLE.generations/N``, which appears at once or not at all; the newest is what is served, also after
    a restart. Generations remember which bundle they grew from: after a new training they are passed over.

    Parameters
    ----------
    folder
        The bundle.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generations = folder.with_name(f"{folder.name}.generations")
        self._loaded: str | None = None

    def current(self) -> Path:
        """Folder of the newest generation, or of the bundle itself where nothing was added."""
        grown = self._grown()
        return grown[-1] if grown else self.folder

    def load(self) -> Bundle:
        """Load what is to be served.

        Raises
        ------
        BundleError
            If it is missing or damaged.
        """
        if (self.folder / MANIFEST).is_file():
            self._loaded = self._origin()
        folder = self.current()
        stale = len(self._numbered()) - len(self._grown())
        if stale:
            logger.warning(
                "%s: %s generations grew from another bundle and are passed over; add their items again",
                self.generations,
                stale,
            )
        return Bundle.load(folder)

    def add(self, bundle: Bundle, items: pl.DataFrame) -> Growth:
        """Write a new generation with more items; see `add_items` for what else is raised.

        Raises
        ------
        BundleError
            If the bundle's folder holds another training by now: what grows from the old one would hide it.
        """
        if self._origin() != self._loaded:
            raise BundleError(
                f"{self.folder}: it is no longer the bundle that is served", "reload it, then add the items"
            )
        numbers = [int(path.name) for path in self._numbered()]
        target = self.generations / f"{max(numbers, default=0) + 1:06d}"
        growth = add_items(bundle, items, target, {_ORIGIN: self._origin()})
        for path in self._numbered()[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)
        return growth

    def _origin(self) -> str:
        return file_hash(self.folder / MANIFEST)

    def _numbered(self) -> list[Path]:
        if not self.generations.is_dir():
            return []
        return sorted(path for path in self.generations.iterdir() if path.name.isdecimal())

    def _grown(self) -> list[Path]:
        if not (self.folder / MANIFEST).is_file():
            return []  # loading will say so
        origin = self._origin()
        return [path for path in self._numbered() if _origin_of(path) == origin]


def _origin_of(generation: Path) -> object:
    try:
        return read_json(generation / MANIFEST)["provenance"][_ORIGIN]
    except (DataError, KeyError, TypeError):
        return None
