"""Connections with bounds: on heads, on waiting, on their number. What passes them is a request for the application."""

from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from h2rec.serving.settings import ServeSettings

_REFUSAL = b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
# Chunks of one byte are six on the wire.
_FRAMING = 8


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol, which itself takes heads of any size and lets a connection wait for ever.

    A connection either waits for its client (for a head, for a body, for an answer to be read, for another
    request), and then has a deadline; or the client waits for an answer. `close_late` closes what is past its
    deadline, and one connection too many closes the one that is nearest to its own.
    """

    def __init__(self, *args: Any, settings: ServeSettings, **values: Any) -> None:
        super().__init__(*args, **values)
        self._settings = settings
        self._unanswered = 0
        self._received = 0
        self._head = 0
        self._in_head = False
        self._due: float | None = None
        self._unread: float | None = None

    @property
    def deadline(self) -> float | None:
        """Until when the client has to do its part; None while it is the server's turn."""
        return self._due if self._unread is None else self._unread

    def connection_made(self, transport: Any) -> None:
        """Take a connection, in the place of another where there are too many."""
        others: list[Any] = list(self.connections)
        super().connection_made(transport)
        self._wait(self._settings.head_seconds)
        if len(others) < self._settings.max_connections:
            return
        waiting = [other for other in others if other.deadline is not None]
        if waiting:
            min(waiting, key=lambda other: other.deadline).drop()
        else:
            self._refuse(b"503 Service Unavailable")

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a request before it is parsed: the parser keeps what is not yet complete."""
        # A head may end in this chunk and a body begin: what came before is what tells.
        bound = self._settings.max_head + (0 if self._in_head else _FRAMING * self._settings.max_body)
        if self._received > bound:
            self._refuse(b"431 Request Header Fields Too Large")
            return
        self._received += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Start the clock of a head."""
        super().on_message_begin()
        self._received, self._head, self._in_head = 0, 0, True
        self._wait(self._settings.head_seconds)

    def on_url(self, url: bytes) -> None:
        """Count a part of the request's line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)
        if len(self.headers) > self._settings.max_headers:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        """Start the clock of a body; the application has one that answers, this one is for what it does not read."""
        self._in_head = False
        self._wait(self._settings.body_seconds + 1)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """From here on the client waits."""
        self._unanswered += 1
        self._due = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """From here on the server waits: for the answer to be read, and for another request."""
        super().on_response_complete()
        self._unanswered = max(0, self._unanswered - 1)
        self._wait(self._settings.idle_seconds)

    def pause_writing(self) -> None:
        """From here on the server waits for answers to be read, also where it has more requests in hand."""
        super().pause_writing()
        self._unread = monotonic() + self._settings.idle_seconds

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self._unread = None

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with a head that the parser gave up."""
        if self._head > self._settings.max_head or len(self.headers or ()) > self._settings.max_headers:
            self._refuse(b"431 Request Header Fields Too Large")
        else:
            super().send_400_response(msg)

    def drop(self) -> None:
        """Close at once, whatever was still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self._settings.max_head:
            raise ValueError("the head is too large")

    def _wait(self, seconds: float) -> None:
        if self._unanswered == 0:
            self._due = monotonic() + seconds

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(_REFUSAL % status)
            self.transport.close()


def close_late(connections: Any) -> None:
    """Close the connections that kept the server waiting too long."""
    now = monotonic()
    for connection in list(connections):
        if connection.deadline is not None and connection.deadline < now:
            connection.drop()
