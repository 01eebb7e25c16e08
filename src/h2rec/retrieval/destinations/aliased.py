"""Stores whose collections have aliases: an export is a collection of its own, and the alias moves when it is whole."""

import re
import uuid
from abc import abstractmethod
from contextlib import suppress
from typing import Any

import polars as pl

from h2rec.retrieval.destinations.protocol import Destination, Held, VectorTable


class Aliased(Destination):
    """A store where `name` is an alias of ``NAME_h2rec_xxxxxxxx``: a search sees one whole export or another.

    Of two exports to one name at a time the one that ends first removes what the other has written, which then fails.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    @abstractmethod
    def collections(self) -> set[str]:
        """Names of all collections, aliases not among them."""

    @abstractmethod
    def aliases(self) -> dict[str, str]:
        """The collection of each alias, of `name` at least."""

    @abstractmethod
    def create(self, collection: str, table: VectorTable) -> None:
        """Make an empty collection, searched by inner product."""

    @abstractmethod
    def upsert(self, collection: str, rows: pl.DataFrame) -> None:
        """Write rows into a collection."""

    @abstractmethod
    def point(self, collection: str) -> None:
        """Let the alias lead to a collection, wherever it led before, in one step."""

    @abstractmethod
    def drop(self, collection: str) -> None:
        """Remove a collection."""

    def held(self) -> Held:
        if self.name not in self.aliases():
            return "others" if self.name in self.collections() else "nothing"
        return "ours" if self._is_ours(self.aliases()[self.name]) else "others"

    def close(self) -> None:
        self.client.close()

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
