"""Indexes of item vectors by name: what proposes items for a user's vector."""

from typing import TYPE_CHECKING

from h2rec.registry import Registry

if TYPE_CHECKING:
    from h2rec.retrieval.indexes.protocol import VectorIndex

INDEXES: Registry[type["VectorIndex"]] = Registry(
    "index",
    "h2rec.indexes",
    {
        "ivf": "h2rec.retrieval.indexes.in_process:Ivf",
        "flat": "h2rec.retrieval.indexes.in_process:Flat",
        "milvus": "h2rec.retrieval.indexes.milvus:MilvusIndex",
    },
    base="h2rec.retrieval.indexes.protocol:VectorIndex",
)
"""Indexes by name; the exact scan is none of them, as it takes counts along."""
