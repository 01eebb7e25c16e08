"""Run the server until it is told to stop."""

import gc
import logging
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from h2rec.runtime import set_threads
from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

_SWITCH = 0.001


class _Server(uvicorn.Server):
    """A server that says so at once when it is told to stop, and then finishes what it has in hand."""

    service: Service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.stopping = True
        super().handle_exit(sig, frame)


def serve(folder: Path, settings: ServeSettings) -> None:
    """Serve a bundle on a port until SIGTERM or SIGINT.

    Raises
    ------
    BundleError
        If the bundle can't be loaded.
    """
    set_threads(settings.threads)
    service = Service(folder, settings)
    # Requests and answers share the interpreter: neither waits for the other longer than this.
    sys.setswitchinterval(_SWITCH)
    # The bundle stays: looking for garbage among its many objects would stop everything for a while.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=settings.grace,
        timeout_keep_alive=30,
        access_log=False,
        log_level="warning",
        server_header=False,
    )
    server = _Server(config)
    server.service = service
    logger.info("http://%s:%s", settings.host, settings.port)
    server.run()
