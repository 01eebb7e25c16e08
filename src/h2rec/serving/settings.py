"""Settings of the server."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from h2rec.retrieval.index import IndexSettings
from h2rec.serving.origins import is_loopback
from h2rec.settings import Settings


class ServeSettings(Settings):
    """Address, bounds and patience of the server."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    token: str | None = Field(None, pattern="^[!-~]+$")
    """Bearer token that every request must carry, but those for the health checks, the explorer's page and the API's
    description; null asks for none. Visible ASCII without blanks: clients send other characters as they like."""
    without_token: bool = False
    """Whether to listen without a token where other machines can ask."""
    allowed_hosts: tuple[Annotated[str, StringConstraints(to_lower=True)], ...] = ()
    """Names that a request may call the server by, beside `host`, `localhost` and any address: without a token
    others are refused. The name of a proxy that passes requests on under another name belongs here. ``*`` for all."""
    histories: Path | None = None
    """File of users to be found by their ids, as `h2rec recommend --input` reads it, or null. Whoever may ask sees what
    they had, so it is not served to other machines without a token. Read once, at start."""
    experiment: Path | None = None
    """File of an experiment, or null for none."""
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
    max_events: int = Field(1000, ge=1)
    """Events in one `POST /events`."""
    max_filter: int = Field(10_000, ge=1)
    """Ids or values in a filter."""
    batch_size: int = Field(32, ge=1)
    """Questions that are answered together; what arrives while one batch is computed makes the next."""
    max_waiting: int = Field(512, ge=1)
    """Questions that may wait; more are answered 503."""
    patience: float = Field(0.15, gt=0)
    """Seconds that a question may be expected to wait; beyond, it is answered 503 at once."""
    max_connections: int = Field(1024, ge=1)
    """Open connections. One more closes the one that keeps the server waiting longest; where all are being answered
    it is answered 503."""
    max_head: int = Field(32_768, ge=1024)
    """Bytes of a request's line and headers; more is answered 431."""
    max_headers: int = Field(100, ge=10)
    """Headers of a request; more are answered 431."""
    head_seconds: float = Field(10.0, gt=0)
    """Time for the line and the headers to arrive; then the connection is closed."""
    idle_seconds: int = Field(30, ge=1)
    """Time that a connection may wait for its next request, or an answer to be read; then it is closed."""
    grace: int = Field(10, ge=0)
    """Seconds that requests in hand are given to finish when the server is told to stop."""
    threads: int = Field(1, ge=1)
    """Threads of the numerical libraries, of each worker."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that serve side by side; each has its own model, queue and connections, and bounds are of each."""
    index: IndexSettings = IndexSettings()
    """How the best items are found."""

    @model_validator(mode="after")
    def _asks_for_a_token(self) -> Self:
        if self.token is not None or is_loopback(self.host):
            return self
        if self.histories is not None:
            raise ValueError(
                f"other machines can reach host '{self.host}', and what users had is not for everyone: histories need "
                "a token (H2REC_TOKEN, or --token-file)"
            )
        if not self.without_token:
            raise ValueError(
                f"other machines can reach host '{self.host}', so a token is needed: set H2REC_TOKEN, or give "
                "--token-file; --without-token lets everyone in"
            )
        return self
