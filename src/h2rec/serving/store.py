"""Where a served bundle and the items added to it live on disk."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import polars as pl

from h2rec.errors import BundleError, DataError, StorageError
from h2rec.files import file_hash
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.growth import Growth, add_items
from h2rec.retrieval.manifest import LARGEST_MANIFEST, MANIFEST
from h2rec.untrusted import read_strict_json

logger = logging.getLogger(__name__)

_ORIGIN = "grown_from"
_KEPT = 2
_LOCK = ".lock"


class BundleStore:
    """A bundle and, beside it, the generations that `POST /items` made of it.

    The bundle itself is never changed. Each addition writes a whole new bundle into
    ``BUNDLE.generations/N``, which appears at once or not at all; the newest is what is served, also after
    a restart. Generations remember which bundle they grew from: after a new training they are passed over.

    Several servers may share a bundle. Each addition goes on top of the newest generation of any server, under a
    lock that the system drops with the process; without such locks (Windows) a bundle has one server that adds.

    `folder`: the bundle.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generations = folder.with_name(f"{folder.name}.generations")
        self._origins: WeakKeyDictionary[Bundle, str] = WeakKeyDictionary()

    def current(self) -> Path:
        """Folder of the newest generation, or of the bundle itself where nothing was added."""
        grown = self._grown()
        return grown[-1] if grown else self.folder

    def load(self) -> Bundle:
        """Load what is to be served: the newest generation that is whole, or the bundle.

        Raises
        ------
        BundleError
            If the bundle is missing or damaged, and no generation of it is whole.
        """
        with self._locked(writing=False):
            origin = self._origin() if (self.folder / MANIFEST).is_file() else None
            bundle = self._newest()
            if origin is not None:
                self._origins[bundle] = origin
            return bundle

    def add(self, bundle: Bundle, items: pl.DataFrame) -> Growth:
        """Write a new generation with more items; see `add_items` for what else is raised.

        Raises `BundleError` if the bundle's folder holds another training by now: what grows from the old one would
        hide it. Raises `StorageError` if the generation can't be written; nothing is left of it then.

        Parameters
        ----------
        bundle
            What is served, as `load` gave it. Where another server has added items since, they go on top of what that
            one wrote.
        """
        with self._locked(writing=True):
            if self._origin() != self._origins.get(bundle):
                raise BundleError(
                    f"{self.folder}: it is no longer the bundle that is served",
                    "reload it, then add the items",
                )
            self._sweep()
            newest = bundle if self.current() == bundle.folder else self._newest()
            numbers = [int(path.name) for path in self._numbered()]
            target = self.generations / f"{max(numbers, default=0) + 1:06d}"
            growth = add_items(newest, items, target, {_ORIGIN: self._origin()})
            self._drop_old(newest.folder)
            return growth

    def _newest(self) -> Bundle:
        """Load the newest generation that is whole, with a warning for each damaged one."""
        numbered, grown = self._numbered(), self._grown()
        damaged = [path for path in numbered if _origin_of(path) is None]
        for path in damaged:
            logger.warning("%s: it is damaged (no manifest that can be read) and is passed over", path)
        if stale := len(numbered) - len(grown) - len(damaged):
            logger.warning(
                "%s: %s generations grew from another bundle and are passed over; add their items again",
                self.generations,
                stale,
            )
        for path in reversed(grown):
            try:
                return Bundle.load(path)
            except BundleError as error:
                logger.warning(
                    "this generation is damaged, and the one before it is served, without the items that were added "
                    "last: %s",
                    error.message,
                )
        return Bundle.load(self.folder)

    def _drop_old(self, used: Path) -> None:
        # A server that still maps a generation's vectors keeps them: the system frees a file with its last user.
        for path in self._numbered()[:-_KEPT]:
            if path != used:
                shutil.rmtree(path, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed additions left; under the lock nobody is writing there."""
        for path in self.generations.glob(".*.partial"):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _locked(self, *, writing: bool) -> Iterator[None]:
        """Hold the lock of the generations: readers together, a writer alone.

        It goes with the process. Who only reads needs no right to write: where there is no lock, nothing was added.
        """
        try:
            import fcntl
        except ImportError:
            yield
            return
        path = self.generations / _LOCK
        try:
            if writing:
                self.generations.mkdir(parents=True, exist_ok=True)
            stream = path.open("a" if writing else "r")
        except OSError as error:
            if writing:
                raise StorageError(
                    f"can't write {path}: {error.strerror}", "check free space and permissions of the folder"
                ) from None
            yield
            return
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX if writing else fcntl.LOCK_SH)
            yield

    def _origin(self) -> str:
        try:
            return file_hash(self.folder / MANIFEST)
        except OSError as error:
            raise BundleError(f"{self.folder}: {MANIFEST} can't be read ({error.strerror})") from None

    def _numbered(self) -> list[Path]:
        if not self.generations.is_dir():
            return []
        return sorted(path for path in self.generations.iterdir() if path.name.isdecimal())

    def _grown(self) -> list[Path]:
        if not (self.folder / MANIFEST).is_file():
            return []  # loading will say so
        origin = self._origin()
        return [path for path in self._numbered() if _origin_of(path) == origin]


def _origin_of(generation: Path) -> str | None:
    """Which bundle a generation grew from; None where its manifest tells nothing."""
    try:
        origin = read_strict_json(generation / MANIFEST, LARGEST_MANIFEST)["provenance"][_ORIGIN]
    except (DataError, KeyError, TypeError):
        return None
    return origin if isinstance(origin, str) else None
