"""Run the server until it is told to stop."""

import contextlib
import gc
import logging
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from h2rec.runtime import set_threads
from h2rec.serving.app import create_app
from h2rec.serving.connections import BoundedConnection, close_late
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

_SWITCH = 0.001
_OTHER_FILES = 256


class _Server(uvicorn.Server):
    """A server that says so at once when it is told to stop, and then finishes what it has in hand."""

    service: Service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.stopping = True
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        close_late(self.server_state.connections)
        return await super().on_tick(counter)


def serve(folder: Path, settings: ServeSettings) -> None:
    """Serve a bundle on a port until SIGTERM or SIGINT. Raises `BundleError` if the bundle can't be loaded."""
    set_threads(settings.threads)
    service = Service(folder, settings)
    # Requests and answers share the interpreter: neither waits for the other longer than this.
    sys.setswitchinterval(_SWITCH)
    # The bundle stays: looking for garbage among its many objects would stop everything for a while.
    gc.collect()
    gc.freeze()
    _allow_files(settings.max_connections + _OTHER_FILES)
    protocol: Any = partial(BoundedConnection, settings=settings)
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        timeout_graceful_shutdown=settings.grace,
        timeout_keep_alive=settings.idle_seconds,
        access_log=False,
        log_level="error",  # what it warns of is what clients send
        server_header=False,
    )
    server = _Server(config)
    server.service = service
    logger.info("http://%s:%s", settings.host, settings.port)
    server.run()


def _allow_files(count: int) -> None:
    """Raise the bound of open files, as far as the system lets: every connection is one."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
