"""Run the server until it is told to stop."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from functools import partial
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Any

import uvicorn

from h2rec.runtime import set_threads
from h2rec.serving.accepting import FairAccepter
from h2rec.serving.app import create_app
from h2rec.serving.connections import BoundedConnection, close_late
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from h2rec.serving.workers import Worker, serve_in_workers

logger = logging.getLogger(__name__)

_SWITCH = 0.001
_OTHER_FILES = 256


class _Server(uvicorn.Server):
    """A server that says so at once when it is told to stop, and then finishes what it has in hand."""

    service: Service
    worker: Worker | None
    accepter: FairAccepter | None = None
    following: "asyncio.Task[None] | None" = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.stopping = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        if self.worker is None:
            await super().startup(sockets)
            return
        await super().startup([])
        protocol: Any = self.config.http_protocol_class
        make = partial(
            protocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        worker, connections = self.worker, self.server_state.connections
        self.accepter = FairAccepter(
            worker.listening, worker.open, worker.place, lambda: len(connections), make
        )
        await self.accepter.start(lambda: self.should_exit or os.getppid() != worker.parent)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        if self.accepter is not None:
            self.accepter.close()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        close_late(self.server_state.connections)
        if self.worker is not None:
            self._tick(self.worker)
        if self.accepter is not None:
            self.accepter.publish()
        return await super().on_tick(counter)

    def _tick(self, worker: Worker) -> None:
        """Several times a second: be one of several."""
        worker.ready.set()
        self.service.metrics.waiting.set(self.service.batcher.waiting)
        self.service.metrics.items.set(len(self.service.recommender.catalogue))
        if worker.missed():
            self.following = asyncio.get_running_loop().create_task(self.service.follow())
        if os.getppid() != worker.parent:  # it was killed: nobody would stop this one
            self.should_exit = True


def serve(folder: Path, settings: ServeSettings) -> None:
    """Serve a bundle on a port until SIGTERM or SIGINT. Raises `BundleError` if the bundle can't be loaded."""
    if settings.workers > 1:
        serve_in_workers(serve_alone, folder, settings)
    else:
        serve_alone(folder, settings)


def serve_alone(folder: Path, settings: ServeSettings, worker: Worker | None = None) -> None:
    """Serve in this process, maybe as one of several."""
    set_threads(settings.threads)
    service = Service(folder, settings) if worker is None else Service(folder, settings, worker.tell)
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
    server.service, server.worker = service, worker
    logger.info("http://%s:%s", settings.host, settings.port)
    server.run(None if worker is None else [worker.listening])


def _allow_files(count: int) -> None:
    """Raise the bound of open files, as far as the system lets: every connection is one."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
