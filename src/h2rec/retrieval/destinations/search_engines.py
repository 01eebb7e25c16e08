"""Item vectors in indices of Elasticsearch and OpenSearch."""

import importlib
import os
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.retrieval.destinations.aliased import Aliased
from h2rec.retrieval.destinations.protocol import Found, VectorTable, library, split, web_address

_FIELDS = {"item_id": "keyword", "item_index": "long", "head": "boolean", "train_count": "long"}
"""Types of fields; attributes get texts with a keyword, as these engines do by themselves."""


class _SearchEngine(Aliased):
    """What both have in common. A document's id is the item's id."""

    settings: ClassVar[dict[str, Any]] = {}
    """Settings of an index."""
    package: ClassVar[str]

    @abstractmethod
    def vector_field(self, dim: int) -> dict[str, Any]:
        """Mapping of the vectors."""

    @abstractmethod
    def query(self, user: list[float], k: int) -> dict[str, Any]:
        """Body of a search."""

    def collections(self) -> set[str]:
        return set(self._indices())

    def aliases(self) -> dict[str, str]:
        return {alias: index for index, told in self._indices().items() for alias in told["aliases"]}

    def create(self, collection: str, table: VectorTable) -> None:
        fields: dict[str, Any] = {name: {"type": kind} for name, kind in _FIELDS.items()}
        mapping = {"properties": fields | {"vector": self.vector_field(table.shape[1])}}
        self.client.indices.create(index=collection, body={"mappings": mapping, "settings": self.settings})

    def upsert(self, collection: str, rows: pl.DataFrame) -> None:
        actions = ({"_index": collection, "_id": row["item_id"], "_source": row} for row in rows.to_dicts())
        importlib.import_module(f"{self.package}.helpers").bulk(self.client, actions)

    def point(self, collection: str) -> None:
        self.client.indices.refresh(index=collection)
        old = [index for index, told in self._indices().items() if self.name in told["aliases"]]
        removed = [{"remove": {"index": index, "alias": self.name}} for index in old]
        added = {"add": {"index": collection, "alias": self.name}}
        self.client.indices.update_aliases(body={"actions": [*removed, added]})

    def drop(self, collection: str) -> None:
        self.client.indices.delete(index=collection)

    def search(self, users: npt.NDArray[np.float32], k: int) -> list[Found]:
        found = []
        for user in users:
            body = self.query(user.tolist(), k) | {"size": k, "_source": ["item_id"]}
            hits = self.client.search(index=self.name, body=body)["hits"]["hits"]
            found.append([(hit["_source"]["item_id"], _product(hit["_score"])) for hit in hits])
        return found

    def _indices(self) -> dict[str, Any]:
        asked = f"{self.name},{self.name}_h2rec_*"
        return dict(self.client.indices.get(index=asked, ignore_unavailable=True))


class Elasticsearch(_SearchEngine):
    """``elasticsearch://USER:PASSWORD@HOST:9200/INDEX``, or `ELASTIC_API_KEY`."""

    package = "elasticsearch"

    @classmethod
    def open(cls, address: str) -> Self:
        client = library(cls.package, "elasticsearch").Elasticsearch
        parts, _, name = split(address)
        return cls(client(web_address(parts), api_key=os.environ.get("ELASTIC_API_KEY")), name)

    def vector_field(self, dim: int) -> dict[str, Any]:
        # Not in 8 bits, as it would be by itself: scores stay those of the bundle.
        how = {"similarity": "max_inner_product", "index_options": {"type": "hnsw"}}
        return {"type": "dense_vector", "dims": dim, "index": True, **how}

    def query(self, user: list[float], k: int) -> dict[str, Any]:
        looked_at = min(10_000, max(100, 2 * k))
        return {"knn": {"field": "vector", "query_vector": user, "k": k, "num_candidates": looked_at}}


class OpenSearch(_SearchEngine):
    """``opensearch://USER:PASSWORD@HOST:9200/INDEX``."""

    package = "opensearchpy"
    settings: ClassVar[dict[str, Any]] = {"index.knn": True}

    @classmethod
    def open(cls, address: str) -> Self:
        client = library(cls.package, "opensearch").OpenSearch
        parts, _, name = split(address)
        return cls(client(web_address(parts)), name)

    def vector_field(self, dim: int) -> dict[str, Any]:
        method = {"name": "hnsw", "engine": "faiss", "space_type": "innerproduct"}
        return {"type": "knn_vector", "dimension": dim, "method": method}

    def query(self, user: list[float], k: int) -> dict[str, Any]:
        return {"query": {"knn": {"vector": {"vector": user, "k": k}}}}


def _product(score: float) -> float:
    """Both make inner products positive: ``1 + p`` from 0 on, ``1 / (1 - p)`` below."""
    return score - 1 if score >= 1 else 1 - 1 / score
