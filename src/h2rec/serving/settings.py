"""Settings of the server."""

from pydantic import Field

from h2rec.retrieval.index import IndexSettings
from h2rec.settings import Settings


class ServeSettings(Settings):
    """Address, bounds and patience of the server."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    token: str | None = Field(None, min_length=1)
    """Bearer token that every request must carry, but those for the health checks, the explorer's page and the API's
    description; null asks for none."""
    max_body: int = Field(1 << 20, ge=1)
    """Bytes of a request's body; more is answered 413."""
    body_seconds: float = Field(10.0, gt=0)
    """Time for a body to arrive; slower is answered 408."""
    max_history: int = Field(1000, ge=1)
    """Items in a history."""
    max_k: int = Field(500, ge=1)
    """Items in an answer."""
    max_queries: int = Field(256, ge=1)
    """Questions in a batch."""
    max_new_items: int = Field(1000, ge=1)
    """Items in one `POST /items`."""
    max_filter: int = Field(10_000, ge=1)
    """Ids or values in a filter."""
    batch_size: int = Field(32, ge=1)
    """Questions that are answered together; what arrives while one batch is computed makes the next."""
    max_waiting: int = Field(512, ge=1)
    """Questions that may wait; more are answered 503."""
    patience: float = Field(0.15, gt=0)
    """Seconds that a question may be expected to wait; beyond, it is answered 503 at once."""
    max_connections: int = Field(1024, ge=1)
    """Requests in hand at once; more are answered 503."""
    grace: int = Field(10, ge=0)
    """Seconds that requests in hand are given to finish when the server is told to stop."""
    threads: int = Field(1, ge=1)
    """Threads of the numerical libraries."""
    index: IndexSettings = IndexSettings()
    """How the best items are found."""
