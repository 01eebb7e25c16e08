"""Item vectors in Qdrant: a server, or a folder of this machine."""

import os
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.errors import MissingExtraError
from h2rec.retrieval.destinations.aliased import Aliased
from h2rec.retrieval.destinations.protocol import Found, VectorTable, split, web_address

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


class Qdrant(Aliased):
    """``qdrant://HOST:6333/COLLECTION``, or ``qdrant:FOLDER/COLLECTION``; `QDRANT_API_KEY` is its key.

    A point's id is the item's index, everything else its payload.
    """

    def __init__(self, client: "QdrantClient", name: str) -> None:
        super().__init__(name)
        self.client = client

    @classmethod
    def open(cls, address: str) -> Self:
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise MissingExtraError("an export to Qdrant", "qdrant") from None
        parts, folder, name = split(address)
        if not parts.netloc:
            return cls(QdrantClient(path=folder), name)
        return cls(QdrantClient(url=web_address(parts), api_key=os.environ.get("QDRANT_API_KEY")), name)

    def close(self) -> None:
        self.client.close()

    def collections(self) -> set[str]:
        return {found.name for found in self.client.get_collections().collections}

    def target(self) -> str | None:
        aliases = self.client.get_aliases().aliases
        return next((found.collection_name for found in aliases if found.alias_name == self.name), None)

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
        if self.target() is not None:
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
