"""Item vectors in Qdrant: a server, or a folder of this machine."""

import os
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.retrieval.destinations.aliased import Aliased
from h2rec.retrieval.destinations.protocol import Found, VectorTable, library, split, web_address


class Qdrant(Aliased):
    """``qdrant://HOST:6333/COLLECTION``, or ``qdrant:FOLDER/COLLECTION``; `QDRANT_API_KEY` is its key.

    A point's id is the item's index, everything else its payload.
    """

    @classmethod
    def open(cls, address: str) -> Self:
        client = library("qdrant_client", "qdrant").QdrantClient
        parts, folder, name = split(address)
        if not parts.netloc:
            return cls(client(path=folder), name)
        return cls(client(url=web_address(parts), api_key=os.environ.get("QDRANT_API_KEY")), name)

    def collections(self) -> set[str]:
        return {found.name for found in self.client.get_collections().collections}

    def aliases(self) -> dict[str, str]:
        return {found.alias_name: found.collection_name for found in self.client.get_aliases().aliases}

    def create(self, collection: str, table: VectorTable) -> None:
        from qdrant_client.models import Distance, VectorParams

        self.client.create_collection(collection, VectorParams(size=table.shape[1], distance=Distance.DOT))

    def upsert(self, collection: str, rows: pl.DataFrame) -> None:
        from qdrant_client.models import Batch

        payloads = rows.drop("item_index", "vector").to_dicts()
        ids, vectors = rows["item_index"].to_list(), rows["vector"].to_list()
        self.client.upsert(collection, Batch(ids=ids, vectors=vectors, payloads=payloads))

    def point(self, collection: str) -> None:
        from qdrant_client import models

        new = models.CreateAlias(collection_name=collection, alias_name=self.name)
        moved: list[models.AliasOperations] = [models.CreateAliasOperation(create_alias=new)]
        if self.name in self.aliases():
            old = models.DeleteAlias(alias_name=self.name)
            moved.insert(0, models.DeleteAliasOperation(delete_alias=old))
        self.client.update_collection_aliases(moved)

    def drop(self, collection: str) -> None:
        self.client.delete_collection(collection)

    def search(self, users: npt.NDArray[np.float32], k: int) -> list[Found]:
        answers = [self.client.query_points(self.name, query=user.tolist(), limit=k) for user in users]
        return [
            [((point.payload or {})["item_id"], point.score) for point in answer.points] for answer in answers
        ]
