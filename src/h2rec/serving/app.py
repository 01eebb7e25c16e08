"""The application: routes, errors, the gate in front and the explorer's files."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from h2rec import __version__
from h2rec.errors import BundleError, H2RecError, StorageError, UnavailableError
from h2rec.serving.batcher import OverloadedError
from h2rec.serving.gate import OVERLOADED, Gate
from h2rec.serving.routes import plain, router
from h2rec.serving.service import Service
from h2rec.serving.shortcut import Shortcut

EXPLORER = Path(__file__).parent / "explorer"


def create_app(service: Service) -> FastAPI:
    """Build the application around a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="h2rec",
        version=__version__,
        description="Candidates for the next item of a history, head and tail in harmony.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere; the document is at /openapi.json
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(router)
    app.add_exception_handler(H2RecError, _error_answer(422))
    app.add_exception_handler(BundleError, _error_answer(409))  # on disk; what was served before still is
    app.add_exception_handler(
        StorageError, _error_answer(507)
    )  # the server's own trouble; nothing was changed
    app.add_exception_handler(UnavailableError, _error_answer(503))
    app.add_exception_handler(OverloadedError, _overloaded)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Shortcut, service=service)
    app.add_middleware(
        Gate, settings=service.settings, metrics=service.metrics, overloaded=service.batcher.overloaded
    )
    app.mount("/explorer", StaticFiles(directory=EXPLORER), name="explorer")
    app.add_api_route("/", _explorer, include_in_schema=False)
    if service.settings.token is not None:
        _declare_token(app)
    return app


async def _explorer() -> FileResponse:
    return FileResponse(EXPLORER / "index.html")


def _error_answer(status: int) -> Callable[[Request, Exception], Response]:
    def answer(_: Request, error: Exception) -> Response:
        assert isinstance(error, H2RecError)
        return plain({"error": error.message} | ({"hint": error.hint} if error.hint else {}), status)

    return answer


def _overloaded(request: Request, _: Exception) -> Response:
    request.app.state.service.metrics.overloaded.inc()
    answer = plain({"error": OVERLOADED}, 503)
    answer.headers["retry-after"] = "1"
    return answer


def _not_understood(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The values themselves are not repeated: they may be long, or no valid text.
    messages = [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()[:5]]
    status = 400 if any(entry["type"] == "json_invalid" for entry in error.errors()) else 422
    return plain({"error": "; ".join(messages)}, status)


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = plain({"error": str(error.detail)}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _declare_token(app: FastAPI) -> None:
    """Say in the OpenAPI document that a bearer token is needed."""
    make_document = app.openapi

    def with_token() -> dict[str, Any]:
        document = make_document()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
        document["security"] = [{"bearer": []}]
        return document

    app.openapi = with_token  # type: ignore[method-assign]  # the way that FastAPI documents
