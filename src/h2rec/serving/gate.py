"""What every request passes first: the token, the bounds of the body, the clock."""

import asyncio
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from h2rec.serving.metrics import Metrics
from h2rec.serving.settings import ServeSettings

OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", "/")
OPEN_FOLDER = "/explorer/"
OVERLOADED = "too many requests at once"
QUEUED_PATHS = ("/recommend", "/recommend/batch", "/similar", "/items", "/codes")


class Gate:
    """Middleware that reads the body whole, within bounds, before anything looks at it.

    Parameters
    ----------
    app
        What stands behind it.
    overloaded
        Whether a question would be refused now. Asked before anything is parsed: a refusal has to be cheap,
        or refusing takes the time that answers need.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, metrics: Metrics, overloaded: Callable[[], bool]
    ) -> None:
        self.app = app
        self.overloaded = overloaded
        self.settings = settings
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, watched)
        finally:
            path = scope["path"]
            route = getattr(scope.get("route"), "path", path if path in QUEUED_PATHS else "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._may_enter(scope):
            await _refuse(send, 401, "a bearer token is needed", {"www-authenticate": "Bearer"})
            return
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                body = await self._body(scope, receive)
        except TimeoutError:
            await _refuse(send, 408, f"the body took longer than {self.settings.body_seconds:g} s")
            return
        if body is None:
            await _refuse(send, 413, f"the body is larger than {self.settings.max_body} bytes")
            return
        if scope["path"] in QUEUED_PATHS and self.overloaded():
            self.metrics.overloaded.inc()
            await _refuse(send, 503, OVERLOADED, {"retry-after": "1"})
            return
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    def _may_enter(self, scope: Scope) -> bool:
        token, path = self.settings.token, scope["path"]
        if token is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return True
        given = _header(scope, b"authorization")
        return hmac.compare_digest(given, f"Bearer {token}".encode())

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Read the whole body; None where it is too large."""
        declared = _header(scope, b"content-length")
        if declared.isdigit() and int(declared) > self.settings.max_body:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.settings.max_body:
                return None
            if not message.get("more_body", False):
                break
        return b"".join(parts)


def _header(scope: Scope, name: bytes) -> bytes:
    found: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return found


async def _refuse(send: Send, status: int, message: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"error": message}).encode()
    values: dict[str, Any] = {"content-type": "application/json", "content-length": str(len(body))}
    if status in (408, 413):  # the rest of the body is not read
        values["connection"] = "close"
    encoded = [(name.encode(), value.encode()) for name, value in (values | (headers or {})).items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
