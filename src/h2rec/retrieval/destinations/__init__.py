"""Where item vectors go: files, vector databases, search engines."""

from h2rec.registry import Registry
from h2rec.retrieval.destinations.protocol import Destination

DESTINATIONS: Registry[type[Destination]] = Registry(
    "destination",
    "h2rec.destinations",
    {
        "parquet": "h2rec.retrieval.destinations.files:ParquetFile",
        "npy": "h2rec.retrieval.destinations.files:NumpyFile",
        "qdrant": "h2rec.retrieval.destinations.qdrant:Qdrant",
        "milvus": "h2rec.retrieval.destinations.milvus:Milvus",
        "postgresql": "h2rec.retrieval.destinations.postgresql:PostgreSQL",
        "elasticsearch": "h2rec.retrieval.destinations.search_engines:Elasticsearch",
        "opensearch": "h2rec.retrieval.destinations.search_engines:OpenSearch",
    },
    base="h2rec.retrieval.destinations.protocol:Destination",
)
