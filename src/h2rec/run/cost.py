"""What a run costs: CPU time of its process, kept on disk while it goes on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from h2rec.files import read_json, write_json

INTERVAL = 5.0
"""Seconds between two records; a process that is killed loses no more than that."""


@contextmanager
def metered(path: Path, interval: float = INTERVAL) -> Iterator[None]:
    """Add the CPU seconds that this process spends within the block to a JSON file (``cpu_seconds``).

    Runs that were stopped and went on later add up. Every thread of the process counts.
    """
    before = spent(path)
    started = time.process_time()
    ended = threading.Event()

    def record() -> None:
        write_json(path, {"cpu_seconds": before + time.process_time() - started})

    def watch() -> None:
        while not ended.wait(interval):
            record()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        record()


def spent(path: Path) -> float:
    """CPU seconds on record; 0 where there is none."""
    return float(read_json(path)["cpu_seconds"]) if path.exists() else 0.0
