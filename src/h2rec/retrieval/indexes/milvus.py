"""Item vectors in Milvus: a server or a cluster that the servers of a bundle share, or a file of Milvus Lite."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from h2rec.errors import H2RecError, UnavailableError
from h2rec.retrieval.destinations.milvus import connect
from h2rec.retrieval.destinations.protocol import hidden, library
from h2rec.retrieval.filters import Allowed
from h2rec.retrieval.indexes.protocol import IndexedItems, IndexKind, SampleUsers, VectorIndex, Vectors
from h2rec.retrieval.vector_table import vector_table

logger = logging.getLogger(__name__)

_MOST = 16_384
"""Items that Milvus gives at most."""
_HASHED_AT_ONCE = 100_000


class MilvusSettings(IndexKind):
    """A collection, its index and how it is searched, in Milvus' words."""

    name: Literal["milvus"] = "milvus"
    uri: str
    """``milvus://HOST:19530/NAME``, ``milvus+https://HOST/NAME``, or ``milvus:FILE.db/NAME`` for Milvus Lite, which one
    process can open. The environment variable `MILVUS_TOKEN` is its token."""
    index_type: str = "AUTOINDEX"
    """Milvus' index: FLAT is exact."""
    build: dict[str, Any] = Field({})
    """Parameters of the index: ``{"M": 32, "efConstruction": 200}``."""
    search: dict[str, Any] = Field({})
    """Parameters of a search: ``{"ef": 512}``."""
    timeout: float = Field(2.0, gt=0)
    """Seconds in which a search is answered, or else refused."""


class MilvusIndex(VectorIndex):
    """A collection ``NAME_ITEMS_HASH``: of how many items it was made, and the hash of what it held of them.

    It is filled once, and found again by every process and after every start: what a killed one left unfinished is
    gone on with, and items that were added to the bundle since are added. A new training has a collection of its own,
    so that servers of the old one find what they expect; old ones are named in the log, and stay.
    """

    settings_class: ClassVar[type[IndexKind]] = MilvusSettings

    def __init__(self, client: Any, name: str, settings: MilvusSettings) -> None:
        self.client = client
        self.settings = settings
        self.name = name
        self.collection = ""
        self.count = 0

    @classmethod
    def build(cls, items: IndexedItems, settings: Any, users: SampleUsers | None) -> Self:
        with _as_ours(settings.uri):
            return cls(*connect(settings.uri), settings)._holding(items)

    def search(
        self, users: Vectors, count: int, allowed: Allowed | None = None, *, spare: int = 0
    ) -> npt.NDArray[np.int64]:
        with _as_ours(self.settings.uri):
            answers = self.client.search(
                self.collection,
                data=users.tolist(),
                limit=min(count + spare, _MOST),
                filter="" if allowed is None else expression(allowed),
                search_params={"params": self.settings.search},
                output_fields=["item_index"],
                consistency_level="Session",
                timeout=self.settings.timeout,
            )
        found = np.zeros((len(users), max(map(len, answers))), np.int64)
        for row, answer in enumerate(answers):
            found[row, : len(answer)] = [hit["item_index"] for hit in answer]
        found[found > self.count] = 0  # others may know newer items already
        return found

    def upsert(self, items: IndexedItems, first: int) -> Self:
        with _as_ours(self.settings.uri):
            return type(self)(self.client, self.name, self.settings)._holding(items)

    def _holding(self, items: IndexedItems) -> Self:
        """Let the collection hold all these items."""
        self.count = len(items)
        pattern = re.compile(rf"{re.escape(self.name)}_(\d+)_([0-9a-f]{{12}})")
        found = [match for name in self.client.list_collections() if (match := pattern.fullmatch(name))]
        counts = [int(match[1]) for match in found if int(match[1]) <= len(items)]
        fitting = [count for count in counts if self._named(items, count) in [match[0] for match in found]]
        self.collection = self._named(items, max(fitting, default=len(items)))
        if fitting:
            self.client.load_collection(self.collection)  # one that an ended Milvus Lite held is not
        else:
            self._create(items.vectors.shape[1])
        # Rows are written in order, so those that are there are the first ones.
        (told,) = self.client.query(
            self.collection, filter="", output_fields=["count(*)"], consistency_level="Strong"
        )
        for rows in _rows(items, told["count(*)"] + 1):
            self.client.upsert(self.collection, rows.to_dicts())
        if not fitting:
            self.client.flush(self.collection)  # what is not sealed has no index
        if others := sorted({match[0] for match in found} - {self.collection}):
            logger.warning(
                "%s: older collections, to be dropped when nobody serves them: %s",
                hidden(self.settings.uri),
                ", ".join(others),
            )
        return self

    def _named(self, items: IndexedItems, count: int) -> str:
        how = f"{items.vectors.shape[1]} {self.settings.index_type} {sorted(self.settings.build.items())}"
        return f"{self.name}_{count}_{_hash(items, count, how)}"

    def _create(self, width: int) -> None:
        from pymilvus import DataType

        schema = self.client.create_schema(enable_dynamic_field=True)
        schema.add_field("item_index", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        index = self.client.prepare_index_params()
        index.add_index(
            "vector",
            index_type=self.settings.index_type,
            metric_type="IP",
            params=self.settings.build,
        )
        self.client.create_collection(self.collection, schema=schema, index_params=index)


def expression(allowed: Allowed) -> str:
    """The same as a filter expression of Milvus.

    What is known by marks alone is a list of numbers: of those that are marked or of those that are not.
    """
    if not (allowed.where or allowed.only is not None or allowed.never or allowed.tail):
        numbers = np.flatnonzero(allowed.marks)
        if 2 * len(numbers) < len(allowed.marks):
            return f"item_index in {numbers.tolist()}"
        return f"item_index not in {(np.flatnonzero(~allowed.marks[1:]) + 1).tolist()}"
    parts = [
        "(" + " or ".join(f"$meta[{_text(field)}] == {_text(value)}" for value in sorted(values)) + ")"
        if values
        else "item_index < 0"
        for field, values in allowed.where
    ]
    if allowed.only is not None:
        parts.append(f"item_index in {list(allowed.only)}")
    if allowed.never:
        parts.append(f"item_index not in {list(allowed.never)}")
    if allowed.tail:
        parts.append("head == false")
    return " and ".join(parts)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _rows(items: IndexedItems, first: int) -> Iterable[pl.DataFrame]:
    if items.catalogue is not None:
        return vector_table(items.catalogue, items.vectors, first=first).batches
    return _bare_rows(items.vectors, first)


def _bare_rows(vectors: Vectors, first: int) -> Iterator[pl.DataFrame]:
    for start in range(first, len(vectors), 1000):
        some = vectors[start : start + 1000]
        numbers = pl.Series("item_index", np.arange(start, start + len(some)))
        kind = pl.Array(pl.Float32, vectors.shape[1])
        yield pl.DataFrame([numbers, pl.Series("vector", np.ascontiguousarray(some), kind)])


def _hash(items: IndexedItems, count: int, how: str) -> str:
    """Of the vectors and the attributes of the first items, and how they are indexed."""
    digest = hashlib.sha256(how.encode())
    for start in range(1, count + 1, _HASHED_AT_ONCE):
        some = items.vectors[start : min(count + 1, start + _HASHED_AT_ONCE)]
        digest.update(np.ascontiguousarray(some).data)
    if items.catalogue is not None:
        for column in items.catalogue.fields.head(count):
            digest.update(f"\0{column.name}\0".encode())
            digest.update(column.fill_null("\0").str.join("\x1f").item().encode())
    return digest.hexdigest()[:12]


@contextmanager
def _as_ours(uri: str) -> Iterator[None]:
    """Raise what the client raises as an error of ours, that names the place without a password."""
    refused = library("pymilvus", "milvus").MilvusException
    try:
        yield
    except H2RecError:
        raise
    except refused as error:
        reason = (str(error).splitlines() or [""])[0][:300]
        raise UnavailableError(
            f"{hidden(uri)}: {reason or type(error).__name__}", "is it up, and is MILVUS_TOKEN its token?"
        ) from error
