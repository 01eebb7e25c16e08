"""Several processes behind one port: started, followed in their changes, replaced when they end, stopped together."""

import logging
import os
import signal
import sys
from collections.abc import Callable, MutableSequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead

from h2rec.errors import H2RecError
from h2rec.serving.accepting import COMING, GONE
from h2rec.serving.experiment.settings import ExperimentSettings
from h2rec.serving.metrics import SHARED
from h2rec.serving.settings import ServeSettings
from h2rec.serving.store import BundleStore

logger = logging.getLogger(__name__)

_AGAIN = 0.5
"""Seconds after which a signal is looked for."""


@dataclass(eq=False)
class Worker:
    """What one process shares with the others."""

    listening: socket
    place: int
    open: MutableSequence[int]
    """How many connections each of them has."""
    changes: "Synchronized[int]"
    """How often any of them has changed what is served."""
    ready: Event
    """Set when it answers."""
    log_level: int
    parent: int
    seen: int = 0
    """The changes that this one has made or followed."""

    def tell(self) -> None:
        """Let the others know that what is served has changed."""
        with self.changes.get_lock():
            if self.seen == self.changes.value:
                self.seen += 1
            self.changes.value += 1

    def missed(self) -> bool:
        """Whether others have changed it since this was asked."""
        before, self.seen = self.seen, self.changes.value
        return before != self.seen


Work = Callable[[Path, ServeSettings, Worker], None]


def run_worker(work: Work, folder: Path, settings: ServeSettings, worker: Worker) -> None:
    """Serve in a process of its own."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("h2rec").setLevel(worker.log_level)
    worker.seen = worker.changes.value
    try:
        work(folder, settings, worker)
    except H2RecError as error:
        sys.exit(str(error))


def serve_in_workers(work: Work, folder: Path, settings: ServeSettings) -> None:
    """Serve in `settings.workers` processes until SIGTERM or SIGINT.

    One that ends is replaced. Counters are in files that outlive a process, so that sums over all never fall.

    Raises `BundleError` if the bundle can't be loaded, `H2RecError` if a process ends before it answers.
    """
    # What is wrong is said once.
    BundleStore(folder).load()
    if settings.experiment is not None:
        for arm in ExperimentSettings.load(settings.experiment).arms.values():
            if arm.bundle is not None:
                BundleStore(arm.bundle).load()
    context = get_context("spawn")  # threads do not survive a fork
    changes = context.Value("q", 0)
    connections: Any = context.Array("q", [COMING] * settings.workers, lock=False)
    config = uvicorn.Config("", host=settings.host, port=settings.port, log_level="error")
    stopped_by: list[int] = []
    with TemporaryDirectory(prefix="h2rec-metrics-") as shared, closing(config.bind_socket()) as listening:
        os.environ[SHARED] = shared
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: stopped_by.append(number))

        def start(place: int) -> tuple[BaseProcess, Worker]:
            level = logging.getLogger("h2rec").getEffectiveLevel()
            worker = Worker(listening, place, connections, changes, context.Event(), level, os.getpid())
            process = context.Process(target=run_worker, args=(work, folder, settings, worker))
            process.start()
            return process, worker

        running = [start(place) for place in range(settings.workers)]
        try:
            while not stopped_by:
                wait([process.sentinel for process, _ in running], _AGAIN)
                for place, (process, worker) in enumerate(running):
                    if process.exitcode is None or stopped_by:
                        continue
                    # One that was killed may do better another time; one that gave up would give up again.
                    if process.exitcode > 0 and not worker.ready.is_set():
                        raise H2RecError(f"a worker ended before it answered (exit code {process.exitcode})")
                    logger.warning(
                        "worker %s ended (%s), another takes its place", process.pid, process.exitcode
                    )
                    mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
                    connections[place] = GONE  # nobody waits for it
                    running[place] = start(place)
        finally:
            for process, _ in running:
                process.terminate()
            for process, _ in running:
                process.join()
            del os.environ[SHARED]
    signal.signal(stopped_by[0], signal.SIG_DFL)
    signal.raise_signal(stopped_by[0])
