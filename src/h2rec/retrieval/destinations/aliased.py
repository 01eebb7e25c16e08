"""Stores whose collections have aliases: an export is a collection of its own, and the alias moves when it is whole."""

import re
import uuid
from abc import abstractmethod
from contextlib import suppress

import polars as pl

from h2rec.retrieval.destinations.protocol import Destination, Held, VectorTable


class Aliased(Destination):
    """A store where `name` is an alias of ``NAME_h2rec_xxxxxxxx``: a search sees one whole export or another.

    Of two exports to one name at a time the one that ends first removes what the other has written, which then fails.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def collections(self) -> set[str]:
        """Names of all collections, aliases not among them."""

    @abstractmethod
    def target(self) -> str | None:
        """Name of the collection that `name` is an alias of; None if it is none."""

    @abstractmethod
    def create(self, collection: str, table: VectorTable) -> None:
        """Make an empty collection, searched by inner product."""

    @abstractmethod
    def upsert(self, collection: str, rows: pl.DataFrame) -> None:
        """Write rows into a collection."""

    @abstractmethod
    def point(self, collection: str) -> None:
        """Let the alias lead to a collection, wherever it led before."""

    @abstractmethod
    def drop(self, collection: str) -> None:
        """Remove a collection."""

    def held(self) -> Held:
        if self.name in self.collections():
            return "others"
        target = self.target()
        if target is None:
            return "nothing"
        return "ours" if self._is_ours(target) else "others"

    def write(self, table: VectorTable) -> None:
        fresh = f"{self.name}_h2rec_{uuid.uuid4().hex[:8]}"
        try:
            self.create(fresh, table)
            for rows in table.batches:
                self.upsert(fresh, rows)
            if self.name in self.collections():
                self.drop(self.name)  # no alias can have its name
            self.point(fresh)
        except BaseException:
            with suppress(Exception):
                self.drop(fresh)
            raise
        for collection in self.collections() - {fresh}:
            if self._is_ours(collection):  # the one before, and what killed exports left
                self.drop(collection)

    def _is_ours(self, collection: str) -> bool:
        return re.fullmatch(rf"{re.escape(self.name)}_h2rec_[0-9a-f]{{8}}", collection) is not None
