"""The one question that servers live on, past the layers of the framework that it does not need."""

from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from h2rec.errors import H2RecError
from h2rec.serving.batcher import OverloadedError
from h2rec.serving.routes import recommended
from h2rec.serving.schemas import RecommendBody
from h2rec.serving.service import Service


class Shortcut:
    """Middleware that answers ``POST /recommend`` itself; routing and dependencies take longer than its own work.

    What it does not understand goes on to the route of that name, which says why; so do errors to the handlers of the
    application. The body comes whole, see `Gate`.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a question, or pass the request on."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/recommend"):
            await self.app(scope, receive, send)
            return
        read = [await receive()]
        try:
            body = RecommendBody.model_validate_json(read[0]["body"])
        except ValidationError:

            async def replay() -> Message:
                return read.pop() if read else await receive()

            await self.app(scope, replay, send)
            return
        try:
            answer = await recommended(self.service, body)
        except (H2RecError, OverloadedError) as error:
            handlers = scope["app"].exception_handlers
            known = next(kind for kind in type(error).__mro__ if kind in handlers)
            answer = handlers[known](Request(scope), error)
        await answer(scope, receive, send)
