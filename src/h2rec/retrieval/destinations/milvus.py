"""Item vectors in Milvus: a server, or a file of Milvus Lite."""

import logging
import os
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.retrieval.destinations.aliased import Aliased
from h2rec.retrieval.destinations.protocol import Found, VectorTable, library, split, web_address

_LONGEST = 65_535
"""Bytes of a text that can be a key."""


def connect(address: str) -> tuple[Any, str]:
    """Open the server, or the file of Milvus Lite, of an address; returns the client and the collection's name."""
    client = library("pymilvus", "milvus").MilvusClient
    parts, file, name = split(address)
    # The server of Milvus Lite logs whatever it leaves to larger ones.
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    uri = web_address(parts) if parts.netloc else file
    return client(uri=uri, token=os.environ.get("MILVUS_TOKEN", "")), name


class Milvus(Aliased):
    """``milvus://HOST:19530/COLLECTION``, or ``milvus:FILE.db/COLLECTION``; `MILVUS_TOKEN` is its token.

    The key is `item_id`; all but the vector are dynamic fields.
    """

    @classmethod
    def open(cls, address: str) -> Self:
        return cls(*connect(address))

    def collections(self) -> set[str]:
        return set(self.client.list_collections())

    def aliases(self) -> dict[str, str]:
        if self.name in self.collections() or not self.client.has_collection(self.name):
            return {}
        return {self.name: self.client.describe_alias(self.name)["collection_name"]}

    def create(self, collection: str, table: VectorTable) -> None:
        from pymilvus import DataType

        schema = self.client.create_schema(enable_dynamic_field=True)
        schema.add_field("item_id", DataType.VARCHAR, is_primary=True, max_length=_LONGEST)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=table.shape[1])
        index = self.client.prepare_index_params()
        index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
        self.client.create_collection(collection, schema=schema, index_params=index)

    def upsert(self, collection: str, rows: pl.DataFrame) -> None:
        self.client.upsert(collection, rows.to_dicts())

    def point(self, collection: str) -> None:
        move = self.client.alter_alias if self.name in self.aliases() else self.client.create_alias
        move(collection, self.name)

    def drop(self, collection: str) -> None:
        self.client.drop_collection(collection)

    def search(self, users: npt.NDArray[np.float32], k: int) -> list[Found]:
        answers = self.client.search(
            self.name, data=users.tolist(), limit=k, output_fields=["item_id"], consistency_level="Session"
        )
        return [[(hit["item_id"], hit["distance"]) for hit in answer] for answer in answers]
