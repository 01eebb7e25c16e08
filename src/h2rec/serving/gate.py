"""What every request passes first: the token, the bounds of the body, the clock."""

import asyncio
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from h2rec.serving.metrics import Metrics
from h2rec.serving.origins import is_foreign, is_own_name
from h2rec.serving.settings import ServeSettings

OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", "/")
OPEN_FOLDER = "/explorer/"
OVERLOADED = "too many requests at once"
QUEUED_PATHS = (
    "/recommend",
    "/recommend/batch",
    "/similar",
    "/items",
    "/codes",
    "/fields",
    "/history",
    "/users/vector",
)
# The page loads its own files only, nobody frames it, and nothing here is loaded into a page of another origin.
SAFE_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]


class _GoneError(Exception):
    """The client left before its body was there."""


class Gate:
    """Middleware that reads the body whole, within bounds, before anything looks at it.

    `app`: what stands behind it. `overloaded`: whether a question would be refused now. Asked before anything is
    parsed: a refusal has to be cheap, or refusing takes the time that answers need.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, metrics: Metrics, overloaded: Callable[[], bool]
    ) -> None:
        self.app = app
        self.overloaded = overloaded
        self.settings = settings
        self.metrics = metrics
        self._names = [settings.host.lower(), *settings.allowed_hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 499  # where nobody is left to be answered

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *SAFE_HEADERS]}
            await send(message)

        try:
            await self._pass(scope, receive, watched)
        finally:
            path = scope["path"]
            route = getattr(scope.get("route"), "path", path if path in QUEUED_PATHS else "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                body = await self._body(scope, receive)
        except _GoneError:
            return  # what has arrived may look whole, and ask for something else
        except TimeoutError:
            await _refuse(send, 408, f"the body took longer than {self.settings.body_seconds:g} s")
            return
        if body is None:
            await _refuse(send, 413, f"the body is larger than {self.settings.max_body} bytes")
            return
        if body and not _is_json(_header(scope, b"content-type")):
            await _refuse(send, 415, "the body must have the content type application/json")
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

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, where a request may not even send its body."""
        token = self.settings.token
        if token is None:
            # Who sends two may mean one for this check and another for the next.
            hosts = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"] or [""]
            if not all(is_own_name(host, self._names) for host in hosts):
                return 403, "this server has no such name (--allow-host adds one)"
        elif not (scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER)) and not _carries(
            scope, token
        ):
            return 401, "a bearer token is needed"
        if is_foreign(scope["headers"], scope["method"], self.settings.allowed_hosts):
            return (
                403,
                "a page of another origin asks (is this one behind a proxy? --allow-host takes its name)",
            )
        return None

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Read the whole body; None where it is too large."""
        declared = _header(scope, b"content-length")
        if declared.isdigit() and int(declared) > self.settings.max_body:
            return None
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.settings.max_body:
                return None
            if not message.get("more_body", False):
                break
        return b"".join(chunks)


def _header(scope: Scope, name: bytes) -> bytes:
    first: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return first


def _carries(scope: Scope, token: str) -> bool:
    scheme, _, given = _header(scope, b"authorization").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode())


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


async def _refuse(send: Send, status: int, message: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"error": message}).encode()
    values: dict[str, Any] = {"content-type": "application/json", "content-length": str(len(body))}
    if status in (401, 403, 408, 413):  # the rest of the body is not read
        values["connection"] = "close"
    if status == 401:
        values["www-authenticate"] = "Bearer"
    encoded = [(name.encode(), value.encode()) for name, value in (values | (headers or {})).items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
